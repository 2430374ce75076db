"""The configuration for Triton is one by its own schema."""

from __future__ import annotations

import onnx
import pytest

from dae_export import export_for
from hosts.conftest import needs


@needs("tritonclient")
@pytest.mark.parametrize("name", ["photo", "gray-25"])
def test_the_configuration_fits_the_schema_and_the_model(name, tmp_path):
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    file = export_for("triton", name, tmp_path)
    text = (file.path / "config.pbtxt").read_text("utf-8")
    configuration = text_format.Parse(text, model_config_pb2.ModelConfig())
    assert configuration.name == file.path.name == name
    assert (configuration.backend, configuration.max_batch_size > 0) == ("onnxruntime", True)
    assert configuration.HasField("dynamic_batching")
    graph = onnx.load(file.path / "1" / "model.onnx").graph
    for listed, tensors in ((configuration.input, graph.input), (configuration.output, graph.output)):
        assert [tensor.name for tensor in listed] == [tensor.name for tensor in tensors]
        for described, tensor in zip(listed, tensors, strict=True):
            dims = [d.dim_value or -1 for d in tensor.type.tensor_type.shape.dim]
            assert dims[0] == -1  # Triton adds the batch itself
            assert list(described.dims) == dims[1:]
            assert described.data_type == model_config_pb2.TYPE_FP32
