"""Every recorded TensorFlow graph, optimised: the same results, in the operators one expects."""

from __future__ import annotations

import numpy as np
import pytest

from octolite import ir, passes
from octolite.frontends import graphdef
from tests.passes.interpret import run
from tests.recorded import INDEX, Recording, relative_error

SIMULATED = {"fake_quant", "fake_quant_per_channel"}  # rounding that the importer leaves out


def optimized(name: str) -> ir.Model:
    recording = Recording(name)
    arrays = recording.arrays("in")
    shapes = {i["name"]: i["shape"] or arrays[i["name"]].shape for i in recording.facts["inputs"]}
    model = graphdef.load(
        recording.path, output_arrays=recording.facts["outputs"], input_shapes=shapes
    )
    passes.optimize(model, on_pass=lambda *_: ir.verify(model.main))
    return model


@pytest.mark.parametrize("name", sorted(set(INDEX) - SIMULATED))
def test_results_stay(name: str) -> None:
    recording = Recording(name)
    signature = optimized(name).signatures[0]
    given = recording.arrays("in")
    feeds = {value.name: given[key] for key, value in signature.inputs.items()}
    arrays = run(signature.graph, feeds)
    for key, expected in recording.arrays("out").items():
        found = arrays[id(signature.outputs[key])]
        assert found.shape == expected.shape
        if expected.dtype.kind == "f":
            assert relative_error(found, expected) <= 1e-5, key
        else:
            np.testing.assert_array_equal(found, expected, err_msg=key)


# What the networks come down to: no arithmetic left over from batch normalization, no transposition
# but at the input, no blocks of pixels. "TRANSPOSE" is the first operator where it is there.
NETWORKS = {
    "lenet": "CONV_2D MAX_POOL_2D RESHAPE FULLY_CONNECTED SOFTMAX",
    "mlp": "FULLY_CONNECTED SOFTMAX ARG_MAX",
    "mobilenet_v1_like": "CONV_2D DEPTHWISE_CONV_2D AVERAGE_POOL_2D RESHAPE SOFTMAX",
    "mobilenet_v2_like": "CONV_2D DEPTHWISE_CONV_2D ADD MEAN FULLY_CONNECTED SOFTMAX",
    "resnet_like": "CONV_2D PAD MAX_POOL_2D ADD MEAN FULLY_CONNECTED",
    "resnet_nchw": "TRANSPOSE PAD CONV_2D MAX_POOL_2D ADD MEAN RESHAPE FULLY_CONNECTED",
    "converted_from_channels_first": "TRANSPOSE CONV_2D MAX_POOL_2D ADD CONCATENATION MEAN RESHAPE "
    "FULLY_CONNECTED SOFTMAX",
    "deeplab_like": "CONV_2D DEPTHWISE_CONV_2D MEAN RESIZE_BILINEAR CONCATENATION ARG_MAX",
    "squeezenet_like": "CONV_2D CONCATENATION MEAN SOFTMAX",
    "conv_unfused_batch_norm": "CONV_2D",
    "conv_fused_batch_norm": "CONV_2D DEPTHWISE_CONV_2D",
    "conv_scale_shift": "CONV_2D",
    "dense_unfused_batch_norm": "FULLY_CONNECTED",
    "dense_on_sequence": "FULLY_CONNECTED",
    "conv2d_space_to_batch_bias": "CONV_2D",
    "conv2d_space_to_batch_odd": "CONV_2D",
    "conv2d_space_to_batch_unknown_size": "CONV_2D",
    "depthwise_conv2d_dilations": "DEPTHWISE_CONV_2D",
    "gelu_erf": "GELU",
    "gelu_erfc": "GELU",
    "gelu_tanh": "GELU",
    "prelu": "PRELU LEAKY_RELU",
    "reshape_flatten": "RESHAPE",
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_come_down_to(name: str) -> None:
    graph = optimized(name).main
    assert set(graph.operators()) == set(NETWORKS[name].split())
    assert all(n.op.name != "TRANSPOSE" for n in graph.nodes[1:])


@pytest.mark.parametrize("name", ["mobilenet_v2_like", "resnet_like", "resnet_nchw"])
def test_optimising_again_changes_nothing(name: str) -> None:
    model = optimized(name)
    before = ir.dump(model.main)
    assert passes.optimize(model) == 0
    assert ir.dump(model.main) == before
