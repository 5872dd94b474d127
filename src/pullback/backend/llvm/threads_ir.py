"""The thread runtime as LLVM IR text: worker loop, hand-over of jobs, barrier, sleeping.

Imports nothing of pullback. ``threads`` compiles and drives it. Start reading at ``runtime_ir``.

Everything that several threads write is an aligned line of 64 bytes. A thread that waits spins,
then yields the processor, then sleeps on the word it waits for. A sleeper first counts itself
(sequentially consistent), then looks at the word once more; who changes the word first changes it,
then looks at the count. One of the two sees the other, so no wake-up is lost.
"""

from __future__ import annotations

from typing import Final

MAX_WORKERS: Final = 1024
#: Offsets in a barrier, known to compiled programs.
GENERATION, SLEEPERS, SPINS, SLOW_WAIT, WAKE = 64, 68, 128, 136, 144
BARRIER_BYTES: Final = 192

_PAUSE: Final = {
    "x86_64": ("call void @llvm.x86.sse2.pause()", "declare void @llvm.x86.sse2.pause()"),
    "aarch64": ("call void @llvm.aarch64.hint(i32 1)", "declare void @llvm.aarch64.hint(i32)"),
}
_FUTEX_CALL: Final = {"x86_64": 202, "aarch64": 98}
#: Round to nearest, gradual underflow, no traps. Libraries built with fast-math change the mode of
#: the thread that loads them; threads with different modes would give different results.
_MXCSR: Final = 0x1F80


def pause(machine: str) -> tuple[str, str]:
    """The instruction that eases a spin loop, and its declaration; empty where there is none."""
    return _PAUSE.get(machine, ("", ""))


def barrier_ir(machine: str) -> str:
    """The barrier, a function internal to each compiled program.

    A counter and a generation: the last thread to arrive resets the counter and begins the next
    generation; the others wait for that. About 100 ns for two running threads.
    """
    return f"""\
define internal void @pullback.barrier(ptr %barrier, i64 %threads) noinline nounwind {{
entry:
  %alone = icmp sle i64 %threads, 1
  br i1 %alone, label %done, label %arrive
arrive:
  %generation.p = getelementptr i8, ptr %barrier, i64 {GENERATION}
  %generation = load atomic i32, ptr %generation.p monotonic, align 4
  %arrived = atomicrmw add ptr %barrier, i32 1 acq_rel, align 4
  %count = trunc i64 %threads to i32
  %others = sub i32 %count, 1
  %is.last = icmp eq i32 %arrived, %others
  br i1 %is.last, label %last, label %wait
last:
  store atomic i32 0, ptr %barrier monotonic, align 4
  %old = atomicrmw add ptr %generation.p, i32 1 seq_cst, align 4
  %sleepers.p = getelementptr i8, ptr %barrier, i64 {SLEEPERS}
  %sleepers = load atomic i32, ptr %sleepers.p seq_cst, align 4
  %nobody = icmp eq i32 %sleepers, 0
  br i1 %nobody, label %done, label %wake
wake:
  %wake.p = getelementptr i8, ptr %barrier, i64 {WAKE}
  %wake.f = load ptr, ptr %wake.p
  call void %wake.f(ptr %generation.p)
  br label %done
wait:
  %spins.p = getelementptr i8, ptr %barrier, i64 {SPINS}
  %spins = load i32, ptr %spins.p
  br label %spin
spin:
  %n = phi i32 [ %spins, %wait ], [ %n.next, %spin.on ]
  %now = load atomic i32, ptr %generation.p acquire, align 4
  %same = icmp eq i32 %now, %generation
  br i1 %same, label %spin.on, label %done
spin.on:
  {pause(machine)[0]}
  %n.next = sub i32 %n, 1
  %again = icmp sgt i32 %n.next, 0
  br i1 %again, label %spin, label %slow
slow:
  %slow.p = getelementptr i8, ptr %barrier, i64 {SLOW_WAIT}
  %slow.f = load ptr, ptr %slow.p
  call void %slow.f(ptr %barrier, i32 %generation)
  br label %done
done:
  ret void
}}"""


def runtime_ir(machine: str, *, linux: bool) -> str:
    """The runtime for a processor architecture, sleeping on futexes or on a pthread condition."""
    futex = linux and machine in _FUTEX_CALL
    sleep = _futex_ir(_FUTEX_CALL[machine]) if futex else _CONDITION_IR
    instruction, declaration = pause(machine)
    return "\n".join(
        [
            _STATE_IR,
            sleep,
            _floating_mode_ir(machine),
            _WAIT_IR.replace("<pause>", instruction),
            _WORKER_IR,
            _RUN_IR,
            _POOL_IR,
            declaration,
        ]
    )


_STATE_IR: Final = f"""\
%Line = type {{ i32, i32, [56 x i8] }}            ; a word that threads wait on, its sleepers
%Worker = type {{ i32, i32, i32, i32, i64, i64, [32 x i8] }} ; ticket, sleepers, seen, -, index, id
%Barrier = type {{ i32, [60 x i8], %Line, i32, i32, ptr, ptr, [40 x i8] }}
%Job = type {{ ptr, ptr, i64, [40 x i8] }}        ; function, context, threads

@leased = internal global %Line zeroinitializer, align 64   ; 1 while a caller has the pool
@pending = internal global %Line zeroinitializer, align 64  ; workers that still run the job
@job = internal global %Job zeroinitializer, align 64
@ready = internal global i32 0, align 64                    ; number of workers
@idle.spins = internal global i32 1000, align 4              ; of a worker without a job
@job.spins = internal global i32 1000, align 4               ; of a caller whose workers still run
@stopping = internal global i32 0, align 4
@workers = internal global [{MAX_WORKERS + 1} x %Worker] zeroinitializer, align 64
@barrier = internal global %Barrier {{ i32 0, [60 x i8] zeroinitializer, %Line zeroinitializer,
  i32 1000, i32 0, ptr @barrier_slow, ptr @wake, [40 x i8] zeroinitializer }}, align 64

declare i32 @sched_yield()
declare i32 @pthread_create(ptr, ptr, ptr, ptr)
declare i32 @pthread_join(i64, ptr)
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
"""


def _futex_ir(call: int) -> str:
    """Sleep on the word itself: FUTEX_WAIT (0) and FUTEX_WAKE (1), private to the process (128)."""
    return f"""\
declare i64 @syscall(i64, ...)

define internal void @sleep_once(ptr %word, i32 %value) nounwind {{
  %r = call i64 (i64, ...) @syscall(i64 {call}, ptr %word, i32 128, i32 %value, ptr null)
  ret void
}}

define internal void @wake(ptr %word) nounwind {{
  %r = call i64 (i64, ...) @syscall(i64 {call}, ptr %word, i32 129, i32 2147483647)
  ret void
}}

define internal void @reset_sleep() nounwind {{
  ret void
}}
"""


#: One mutex and condition for all words; 128 bytes hold either type on every system.
_CONDITION_IR: Final = """\
@mutex = internal global [128 x i8] zeroinitializer, align 64
@condition = internal global [128 x i8] zeroinitializer, align 64

declare i32 @pthread_mutex_init(ptr, ptr)
declare i32 @pthread_cond_init(ptr, ptr)
declare i32 @pthread_mutex_lock(ptr)
declare i32 @pthread_mutex_unlock(ptr)
declare i32 @pthread_cond_wait(ptr, ptr)
declare i32 @pthread_cond_broadcast(ptr)

define internal void @sleep_once(ptr %word, i32 %value) nounwind {
entry:
  %l = call i32 @pthread_mutex_lock(ptr @mutex)
  %now = load atomic i32, ptr %word seq_cst, align 4
  %same = icmp eq i32 %now, %value
  br i1 %same, label %wait, label %done
wait:
  %w = call i32 @pthread_cond_wait(ptr @condition, ptr @mutex)
  br label %done
done:
  %u = call i32 @pthread_mutex_unlock(ptr @mutex)
  ret void
}

define internal void @wake(ptr %word) nounwind {
  %l = call i32 @pthread_mutex_lock(ptr @mutex)
  %b = call i32 @pthread_cond_broadcast(ptr @condition)
  %u = call i32 @pthread_mutex_unlock(ptr @mutex)
  ret void
}

define internal void @reset_sleep() nounwind {
  %m = call i32 @pthread_mutex_init(ptr @mutex, ptr null)
  %c = call i32 @pthread_cond_init(ptr @condition, ptr null)
  ret void
}
"""


def _floating_mode_ir(machine: str) -> str:
    if machine != "x86_64":
        return """\
define internal i32 @enter_floating_mode() nounwind {
  ret i32 0
}
define internal void @leave_floating_mode(i32 %mode) nounwind {
  ret void
}
"""
    return f"""\
declare void @llvm.x86.sse.stmxcsr(ptr)
declare void @llvm.x86.sse.ldmxcsr(ptr)

define internal i32 @enter_floating_mode() nounwind {{
  %slot = alloca i32
  call void @llvm.x86.sse.stmxcsr(ptr %slot)
  %old = load i32, ptr %slot
  store i32 {_MXCSR}, ptr %slot
  call void @llvm.x86.sse.ldmxcsr(ptr %slot)
  ret i32 %old
}}
define internal void @leave_floating_mode(i32 %mode) nounwind {{
  %slot = alloca i32
  store i32 %mode, ptr %slot
  call void @llvm.x86.sse.ldmxcsr(ptr %slot)
  ret void
}}
"""


_WAIT_IR: Final = """\
; Return once *word differs from value.
define internal void @wait_while(ptr %word, i32 %value, ptr %spins.p) nounwind {
entry:
  %spins = load i32, ptr %spins.p
  br label %spin
spin:
  %n = phi i32 [ %spins, %entry ], [ %n.next, %spin.on ]
  %now = load atomic i32, ptr %word acquire, align 4
  %same = icmp eq i32 %now, %value
  br i1 %same, label %spin.on, label %done
spin.on:
  <pause>
  %n.next = sub i32 %n, 1
  %again = icmp sgt i32 %n.next, 0
  br i1 %again, label %spin, label %slow
slow:
  call void @wait_slow(ptr %word, i32 %value)
  br label %done
done:
  ret void
}

; The same without spinning; the sleepers' count follows the word.
define internal void @wait_slow(ptr %word, i32 %value) noinline nounwind {
entry:
  br label %yield
yield:
  %n = phi i32 [ 50, %entry ], [ %n.next, %yield.on ]
  %r = call i32 @sched_yield()
  %now = load atomic i32, ptr %word acquire, align 4
  %same = icmp eq i32 %now, %value
  br i1 %same, label %yield.on, label %done
yield.on:
  %n.next = sub i32 %n, 1
  %again = icmp sgt i32 %n.next, 0
  br i1 %again, label %yield, label %count
count:
  %sleepers = getelementptr i32, ptr %word, i64 1
  %c = atomicrmw add ptr %sleepers, i32 1 seq_cst, align 4
  br label %look
look:
  %then = load atomic i32, ptr %word seq_cst, align 4
  %still = icmp eq i32 %then, %value
  br i1 %still, label %sleep, label %awake
sleep:
  call void @sleep_once(ptr %word, i32 %value)
  br label %look
awake:
  %d = atomicrmw sub ptr %sleepers, i32 1 seq_cst, align 4
  br label %done
done:
  ret void
}

define internal void @barrier_slow(ptr %barrier, i32 %generation) nounwind {
  %word = getelementptr %Barrier, ptr %barrier, i32 0, i32 2
  call void @wait_slow(ptr %word, i32 %generation)
  ret void
}

; Wake whoever sleeps on the word, which the caller has just changed.
define internal void @wake_sleepers(ptr %word) nounwind {
entry:
  %sleepers.p = getelementptr i32, ptr %word, i64 1
  %sleepers = load atomic i32, ptr %sleepers.p seq_cst, align 4
  %nobody = icmp eq i32 %sleepers, 0
  br i1 %nobody, label %done, label %somebody
somebody:
  call void @wake(ptr %word)
  br label %done
done:
  ret void
}

define void @spin(i64 %count) nounwind {
entry:
  br label %loop
loop:
  %n = phi i64 [ %count, %entry ], [ %n.next, %loop ]
  <pause>
  %n.next = sub i64 %n, 1
  %again = icmp sgt i64 %n.next, 0
  br i1 %again, label %loop, label %done
done:
  ret void
}
"""

_WORKER_IR: Final = """\
; Wait for a ticket, run the job, until told to stop. Only workers that take part in a job get a
; ticket for it, so nobody reads the job while the next one is written.
define internal ptr @worker_main(ptr %self) nounwind {
entry:
  %mode = call i32 @enter_floating_mode()
  %seen.p = getelementptr %Worker, ptr %self, i32 0, i32 2
  %index.p = getelementptr %Worker, ptr %self, i32 0, i32 4
  %first = load i32, ptr %seen.p
  %index = load i64, ptr %index.p
  br label %wait
wait:
  %seen = phi i32 [ %first, %entry ], [ %ticket, %work ], [ %ticket, %last ]
  call void @wait_while(ptr %self, i32 %seen, ptr @idle.spins)
  %ticket = load atomic i32, ptr %self acquire, align 4
  %stop = load atomic i32, ptr @stopping monotonic, align 4
  %stops = icmp ne i32 %stop, 0
  br i1 %stops, label %done, label %work
work:
  %function = load ptr, ptr @job
  %context = load ptr, ptr getelementptr (%Job, ptr @job, i32 0, i32 1)
  %threads = load i64, ptr getelementptr (%Job, ptr @job, i32 0, i32 2)
  call void %function(ptr %context, i64 %index, i64 %threads, ptr @barrier)
  %before = atomicrmw sub ptr @pending, i32 1 seq_cst, align 4
  %is.last = icmp eq i32 %before, 1
  br i1 %is.last, label %last, label %wait
last:
  call void @wake_sleepers(ptr @pending)
  br label %wait
done:
  ret ptr null
}

; Hand a ticket to the workers 1..count.
define internal void @hand_tickets(i64 %count) nounwind {
entry:
  br label %check
check:
  %k = phi i64 [ 1, %entry ], [ %k.next, %body ]
  %more = icmp sle i64 %k, %count
  br i1 %more, label %body, label %done
body:
  %worker = getelementptr %Worker, ptr @workers, i64 %k
  %t = atomicrmw add ptr %worker, i32 1 seq_cst, align 4
  call void @wake_sleepers(ptr %worker)
  %k.next = add i64 %k, 1
  br label %check
done:
  ret void
}
"""

_RUN_IR: Final = """\
; Run function(context, thread, threads, barrier) on the caller and threads - 1 workers: on the
; caller alone when another caller has the pool, on fewer when there are fewer workers.
define void @run(ptr %function, ptr %context, i64 %threads) nounwind {
entry:
  %mode = call i32 @enter_floating_mode()
  %wants.one = icmp sle i64 %threads, 1
  br i1 %wants.one, label %alone, label %lease
lease:
  %exchange = cmpxchg ptr @leased, i32 0, i32 1 acquire monotonic, align 4
  %mine = extractvalue { i32, i1 } %exchange, 1
  br i1 %mine, label %team, label %alone
team:
  %ready.32 = load i32, ptr @ready
  %ready = sext i32 %ready.32 to i64
  %wanted = sub i64 %threads, 1
  %helpers = call i64 @llvm.smin.i64(i64 %wanted, i64 %ready)
  %team.size = add i64 %helpers, 1
  %helpers.32 = trunc i64 %helpers to i32
  store ptr %function, ptr @job
  store ptr %context, ptr getelementptr (%Job, ptr @job, i32 0, i32 1)
  store i64 %team.size, ptr getelementptr (%Job, ptr @job, i32 0, i32 2)
  store atomic i32 %helpers.32, ptr @pending monotonic, align 4
  call void @hand_tickets(i64 %helpers)
  call void %function(ptr %context, i64 0, i64 %team.size, ptr @barrier)
  br label %join
join:
  %left = load atomic i32, ptr @pending acquire, align 4
  %finished = icmp eq i32 %left, 0
  br i1 %finished, label %release, label %wait
wait:
  call void @wait_while(ptr @pending, i32 %left, ptr @job.spins)
  br label %join
release:
  store atomic i32 0, ptr @leased release, align 4
  br label %done
alone:
  call void %function(ptr %context, i64 0, i64 1, ptr @barrier)
  br label %done
done:
  call void @leave_floating_mode(i32 %mode)
  ret void
}

declare i64 @llvm.smin.i64(i64, i64)
"""

_POOL_IR: Final = """\
; Start workers until there are count; return how many there are, -1 when the pool is in use.
define i64 @grow(i64 %count) nounwind {
entry:
  %exchange = cmpxchg ptr @leased, i32 0, i32 1 acquire monotonic, align 4
  %mine = extractvalue { i32, i1 } %exchange, 1
  br i1 %mine, label %begin, label %busy
begin:
  %ready.32 = load i32, ptr @ready
  %ready = sext i32 %ready.32 to i64
  br label %check
check:
  %k = phi i64 [ %ready, %begin ], [ %k.next, %started ]
  %more = icmp slt i64 %k, %count
  br i1 %more, label %start, label %done
start:
  %k.next = add i64 %k, 1
  %worker = getelementptr %Worker, ptr @workers, i64 %k.next
  %seen.p = getelementptr %Worker, ptr %worker, i32 0, i32 2
  %index.p = getelementptr %Worker, ptr %worker, i32 0, i32 4
  %id.p = getelementptr %Worker, ptr %worker, i32 0, i32 5
  %ticket = load i32, ptr %worker
  store i32 %ticket, ptr %seen.p
  store i64 %k.next, ptr %index.p
  %error = call i32 @pthread_create(ptr %id.p, ptr null, ptr @worker_main, ptr %worker)
  %ok = icmp eq i32 %error, 0
  br i1 %ok, label %started, label %done
started:
  %k.32 = trunc i64 %k.next to i32
  store i32 %k.32, ptr @ready
  br label %check
done:
  store atomic i32 0, ptr @leased release, align 4
  ret i64 %k
busy:
  ret i64 -1
}

; End all workers and wait for them; nothing happens when the pool is in use.
define void @stop() nounwind {
entry:
  %exchange = cmpxchg ptr @leased, i32 0, i32 1 acquire monotonic, align 4
  %mine = extractvalue { i32, i1 } %exchange, 1
  br i1 %mine, label %begin, label %busy
begin:
  %ready.32 = load i32, ptr @ready
  %ready = sext i32 %ready.32 to i64
  store atomic i32 1, ptr @stopping monotonic, align 4
  call void @hand_tickets(i64 %ready)
  br label %check
check:
  %k = phi i64 [ 1, %begin ], [ %k.next, %join ]
  %more = icmp sle i64 %k, %ready
  br i1 %more, label %join, label %done
join:
  %id.p = getelementptr %Worker, ptr @workers, i64 %k, i32 5
  %id = load i64, ptr %id.p
  %r = call i32 @pthread_join(i64 %id, ptr null)
  %k.next = add i64 %k, 1
  br label %check
done:
  store i32 0, ptr @ready
  store atomic i32 0, ptr @stopping monotonic, align 4
  store atomic i32 0, ptr @leased release, align 4
  br label %busy
busy:
  ret void
}

; Forget all workers, in the child of a fork, where they do not exist.
define void @reset() nounwind {
  store i32 0, ptr @ready
  store i32 0, ptr @stopping
  store i32 0, ptr @leased
  store i32 0, ptr @barrier
  store i32 0, ptr getelementptr (%Barrier, ptr @barrier, i32 0, i32 2, i32 1)
  call void @llvm.memset.p0.i64(ptr @pending, i8 0, i64 64, i1 false)
  call void @llvm.memset.p0.i64(ptr @workers, i8 0, i64 <bytes>, i1 false)
  call void @reset_sleep()
  ret void
}

define void @set_spins(i32 %idle, i32 %job) nounwind {
  store i32 %idle, ptr @idle.spins
  store i32 %job, ptr @job.spins
  store i32 %job, ptr getelementptr (%Barrier, ptr @barrier, i32 0, i32 3)
  ret void
}

define ptr @shared_barrier() nounwind {
  ret ptr @barrier
}
""".replace("<bytes>", str(64 * (MAX_WORKERS + 1)))
