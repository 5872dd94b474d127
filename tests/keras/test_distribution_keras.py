"""``keras.distribution``: one device is there; several devices or processes are refused by name."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from pullback.errors import PullbackError

distribution = keras.distribution
REFUSED = r"is not there with the pullback backend, which trains on one device, 'cpu:0'"


@pytest.fixture(autouse=True)
def _no_distribution_afterwards():
    yield
    distribution.set_distribution(None)


def _mesh(devices):
    return distribution.DeviceMesh((len(devices),), ["batch"], devices)


def test_devices_are_the_processor():
    assert distribution.list_devices() == ["cpu:0"]
    assert distribution.list_devices("CPU") == ["cpu:0"]
    assert distribution.list_devices("gpu") == []
    assert distribution.get_device_count() == 1
    assert distribution.get_device_count("tpu") == 0


def test_several_processes_are_refused():
    with pytest.raises(PullbackError, match=f"initialize for several processes {REFUSED}"):
        distribution.initialize("10.0.0.1:1234,10.0.0.2:1234", 2, 0)


@pytest.mark.parametrize("kind", ["DataParallel", "ModelParallel"])
def test_models_under_several_devices_are_refused(kind):
    """Nothing would be distributed: saying nothing would be wrong."""
    mesh = _mesh(["cpu:0", "cpu:1"])
    chosen = {
        "DataParallel": lambda: distribution.DataParallel(mesh),
        "ModelParallel": lambda: distribution.ModelParallel(
            layout_map=distribution.LayoutMap(mesh), batch_dim_name="batch"
        ),
    }[kind]()
    distribution.set_distribution(chosen)

    with pytest.raises(PullbackError, match=f"{kind} over 2 devices {REFUSED}"):
        keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2)])


def test_one_device_changes_nothing():
    x, y = np.ones((8, 3), "float32"), np.ones((8, 2), "float32")
    found = []
    for chosen in (None, distribution.DataParallel()):
        distribution.set_distribution(chosen)
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2)])
        model.compile("sgd", "mse")
        found.append(model.fit(x, y, verbose=0, epochs=2).history["loss"])

    assert found[0] == found[1]


def test_tensors_stay_on_one_device_and_are_refused_on_several():
    x = keras.ops.ones((4, 2))
    one = distribution.TensorLayout(["batch", None], _mesh(["cpu:0"]))
    two = distribution.TensorLayout(["batch", None], _mesh(["cpu:0", "cpu:1"]))

    assert distribution.distribute_tensor(x, one) is x
    with pytest.raises(PullbackError, match=f"distribute_tensor over 2 devices {REFUSED}"):
        distribution.distribute_tensor(x, two)
    for refused in (lambda: two.backend_layout, lambda: two.device_mesh.backend_mesh):
        with pytest.raises(PullbackError, match=REFUSED):
            refused()
