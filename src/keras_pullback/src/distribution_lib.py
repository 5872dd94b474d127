"""``keras.distribution``: one processor is all there is; several devices are refused by name.

A distribution over one device changes nothing, and is accepted; ``variable`` asks ``check`` before
it makes a variable under another one.
"""

from __future__ import annotations

from typing import Any

from keras.src.backend.common import global_state

from pullback.errors import PullbackError


def list_devices(device_type: str | None = None) -> list[str]:
    """The devices of a type, ``["cpu:0"]``; there are none of another type than ``"cpu"``."""
    return ["cpu:0"] if (device_type or "cpu").lower() == "cpu" else []


def get_device_count(device_type: str | None = None) -> int:
    """How many devices of a type there are."""
    return len(list_devices(device_type))


def num_processes() -> int:
    """How many processes train together: this one."""
    return 1


def process_id() -> int:
    """Which of them this is."""
    return 0


def initialize(job_addresses: Any, num_processes: Any, process_id: Any) -> None:
    """Refused: processes do not train together.

    Raises:
        PullbackError: always.
    """
    raise _refusal("keras.distribution.initialize for several processes")


def distribute_tensor(tensor: Any, layout: Any) -> Any:
    """``tensor``, where the layout's mesh has one device.

    Raises:
        PullbackError: it has several.
    """
    _check_mesh(layout.device_mesh, "keras.distribution.distribute_tensor")
    return tensor


def check() -> None:
    """See that no distribution over several devices is set: variables would not be distributed.

    Raises:
        PullbackError: one is set.
    """
    found = global_state.get_global_attribute("distribution")
    if found is not None:
        _check_mesh(found.device_mesh, f"keras.distribution.{type(found).__name__}")


def _check_mesh(mesh: Any, what: str) -> None:
    if mesh is not None and mesh.devices.size > 1:
        raise _refusal(f"{what} over {mesh.devices.size} devices")


def _to_backend_mesh(device_mesh: Any) -> Any:
    raise _refusal("keras.distribution.DeviceMesh.backend_mesh")


def _to_backend_layout(tensor_layout: Any) -> Any:
    raise _refusal("keras.distribution.TensorLayout.backend_layout")


def _refusal(what: str) -> PullbackError:
    # Not NotImplementedError, which Keras's Sequential takes for "not yet".
    return PullbackError(
        f"{what} is not there with the pullback backend, which trains on one device, 'cpu:0', with "
        "all its cores; leave the distribution away, or choose Keras's JAX backend for it"
    )
