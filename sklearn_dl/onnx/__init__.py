"""How does a fitted estimator become an ONNX graph, encoder and classes included?"""

from sklearn_dl.onnx.export import export_onnx
from sklearn_dl.onnx.feeding import onnx_inputs

__all__ = ["export_onnx", "onnx_inputs"]
