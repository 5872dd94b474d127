"""Programs written for JAX, with their import lines changed: results, dtypes, errors."""

from __future__ import annotations

from typing import Any

import jax_port
import numpy as np
import pytest

import pullback as pb
import pullback.compat.jax as jax
import pullback.compat.jax.numpy as jnp
from pullback.compat.jax import lax, tree_util
from pullback.errors import ConfigurationError, RegistrationError, ShapeError, TreeError


def text_of(name):
    return (jax_port.PROGRAMS / f"{name}.py.txt").read_text(encoding="utf-8")


def require_same(found, expected):
    assert found.keys() == expected.keys()
    for path, x in expected.items():
        assert found[path].dtype == x.dtype, path
        np.testing.assert_allclose(found[path], x, rtol=2e-5, atol=2e-6, err_msg=path)


@pytest.mark.parametrize("name", jax_port.NAMES)
def test_programs_give_what_they_give_on_jax(name):
    found = jax_port.run(jax_port.ported(text_of(name)))

    require_same(found, jax_port.recorded(name))


@pytest.mark.parametrize("name", jax_port.NAMES)
def test_porting_changes_import_lines_alone(name):
    before, after = text_of(name).splitlines(), jax_port.ported(text_of(name)).splitlines()

    changed = [(x, y) for x, y in zip(before, after, strict=True) if x != y]

    assert changed
    assert all(x.startswith(("import jax", "from jax")) for x, _ in changed)


@pytest.mark.peer
@pytest.mark.parametrize("name", jax_port.NAMES)
def test_records_are_those_of_jax(name):
    pytest.importorskip("jax")

    require_same(jax_port.run(text_of(name)), jax_port.recorded(name))


# ---- widths


def test_data_of_64_bits_becomes_32_bits_wide():
    x = np.arange(3.0)

    assert jnp.asarray(x).dtype == jnp.array(x).dtype == np.float32
    assert jnp.asarray(np.arange(3)).dtype == np.int32
    assert jnp.asarray(x, jnp.float64).dtype == np.float64
    assert jax.jit(lambda x: x * 2)(x).dtype == np.float32
    assert jax.grad(lambda p: jnp.sum(p["w"] ** 2))({"w": x})["w"].dtype == np.float32
    assert jax.vjp(lambda x: x, x)[0].dtype == jax.jvp(lambda x: x, (x,), (x,))[1].dtype
    assert jax.vmap(lambda x: x)(x).dtype == np.float32
    assert jax.device_put({"x": x})["x"].dtype == np.float32
    assert type(jax.device_get(jnp.ones(2))) is np.ndarray


def test_dtypes_can_be_called():
    half = jnp.float32(0.5)

    assert (jnp.ones(2, jnp.bfloat16) * jnp.bfloat16(2)).dtype == pb.bfloat16
    assert (half * jnp.ones(2, jnp.int32)).dtype == np.float32
    assert jnp.zeros(2, jnp.bool_).dtype == np.bool_
    assert jnp.issubdtype(jnp.ones(2).dtype, np.floating)


# ---- arguments


def test_jit_takes_all_options():
    @jax.jit
    def plain(x):
        return x + 1

    @jax.jit(static_argnames="n", donate_argnames="x", keep_unused=True, inline=True)
    def power(x, n):
        return x**n

    x = jnp.ones(3) * 2

    assert plain(x).tolist() == [3, 3, 3]
    assert power(x, n=3).tolist() == [8, 8, 8]
    with pytest.raises(pb.errors.PullbackError, match="donated"):
        x + 1


def test_shapes_without_computing():
    def f(x, n):
        return {"y": x @ x.T, "n": n + 1}

    found = jax.eval_shape(f, jax.ShapeDtypeStruct((2, 3), jnp.float32), 1)

    assert {k: str(v) for k, v in found.items()} == {"y": "f32[2,2]", "n": "i32[]"}
    assert "dot" in str(jax.make_jaxpr(lambda x: x @ x.T)(found["y"]))


def test_settings_that_are_so_here():
    jax.config.update("jax_enable_x64", False)
    jax.config.update("jax_platform_name", "cpu")

    with pytest.raises(ConfigurationError, match=r"jax_enable_x64 cannot be True.*give a dtype"):
        jax.config.update("jax_enable_x64", True)
    with pytest.raises(ConfigurationError, match="jax_unknown"):
        jax.config.update("jax_unknown", 1)
    with pytest.raises(ConfigurationError, match="no complex numbers"):
        jax.grad(jnp.sin, holomorphic=True)


def test_every_name_is_there():
    for module in (jax, lax, tree_util):
        assert [name for name in module.__all__ if not hasattr(module, name)] == []
    assert {"sin", "asarray", "nansum"} <= {*dir(jnp)}
    assert {"relu", "initializers"} <= {*dir(jax.nn)}


def test_initializers_refuse_other_words():
    with pytest.raises(ConfigurationError, match=r"mode 'fan'.*expected one of \('fan_in'"):
        jax.nn.initializers.variance_scaling(1.0, "fan", "normal")
    with pytest.raises(ConfigurationError, match="distribution 'gamma'"):
        jax.nn.initializers.variance_scaling(1.0, "fan_in", "gamma")


def test_unknown_names_say_what_to_use():
    for module, name, text in [
        (jax, "pmap", "use jax.vmap"),
        (jax, "no_such_thing", "no attribute 'no_such_thing'"),
        (jnp, "fft", "pure_callback"),
        (lax, "conv_general_dilated", "Keras"),
        (jax.nn, "no_such_thing", "compose it"),
    ]:
        with pytest.raises(AttributeError, match=text):
            getattr(module, name)


def test_classes_are_registered_once():
    @tree_util.register_pytree_node_class
    class Pair:
        def __init__(self, x: Any, y: Any) -> None:
            self.x, self.y = x, y

        def tree_flatten(self):
            return (self.x,), self.y

        @classmethod
        def tree_unflatten(cls, y, children):
            return cls(children[0], y)

    doubled = jax.jit(lambda p: tree_util.tree_map(lambda x: 2 * x, p))(Pair(1.0, "kept"))

    assert (float(doubled.x), doubled.y) == (2.0, "kept")
    with pytest.raises(RegistrationError, match="already"):
        tree_util.register_pytree_node(Pair, lambda p: ((p.x,), p.y), lambda y, c: Pair(c[0], y))


# ---- vmap


def test_vmap_axes():
    x = np.arange(6, dtype=np.float32).reshape(2, 3)

    along_rows = jax.vmap(lambda v: v.sum())(x)
    along_columns = jax.vmap(lambda v: v * 2, in_axes=-1, out_axes=-1)(x)
    trees = jax.vmap(lambda p, y: p["a"] + p["b"] * y, in_axes=({"a": 0, "b": None}, 0))(
        {"a": x, "b": 10.0}, jnp.ones(2)
    )
    by_name = jax.vmap(lambda v, *, w: v @ w)(x, w=x)
    shared = jax.vmap(lambda v: (v, jnp.float32(7)), out_axes=(0, None))(x)

    assert along_rows.tolist() == [3, 12]
    np.testing.assert_array_equal(along_columns, x * 2)
    np.testing.assert_array_equal(trees, x + 10)
    assert by_name.tolist() == [5, 50]
    assert float(shared[1]) == 7
    assert jax.vmap(lambda: jnp.ones(3), axis_size=4)().shape == (4, 3)
    assert jax.vmap(lambda v: v * 2)(jnp.zeros((0, 3))).shape == (0, 3)


def test_vmap_refuses_axes_that_do_not_fit():
    with pytest.raises(ShapeError, match="one length, got 2, 3"):
        jax.vmap(lambda x, y: x)(jnp.ones(2), jnp.ones(3))
    with pytest.raises(ShapeError, match="got none"):
        jax.vmap(lambda x: x, in_axes=None)(jnp.ones(2))
    with pytest.raises(TreeError, match="in_axes does not fit"):
        jax.vmap(lambda x: x, in_axes=(0, 0))(jnp.ones(2))
    with pytest.raises(ShapeError, match="axis 2"):
        jax.vmap(lambda x: x, in_axes=2)(jnp.ones((2, 3)))


def test_division_of_integers_rounds_towards_zero():
    grid = np.array([-128, -7, -2, -1, 1, 2, 7, 127], np.int8)
    x, y = (a.ravel() for a in np.meshgrid(grid, grid[grid != -1]))

    np.testing.assert_array_equal(lax.div(x, y), np.trunc(x / y.astype(float)).astype(np.int8))
    np.testing.assert_array_equal(lax.rem(x, y), np.fmod(x, y))
    np.testing.assert_array_equal(lax.div(jnp.ones(2), 4.0), [0.25, 0.25])
