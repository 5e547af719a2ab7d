"""Many bit configurations of one graph at once."""

from ltqlib.engine.predictions import predict, predict_module
from ltqlib.engine.reducers import Reducer, every, predicted, whole

__all__ = ["Reducer", "every", "predict", "predict_module", "predicted", "whole"]
