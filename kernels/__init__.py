"""Compute kernels. A backend is a module with these functions and fields, documented in reference/contract.py."""

FIELDS = ("DEVICE", "PRECISIONS", "USES_BLAS", "TAKES_SPARSE")
CONTRACT = (
    "describe", "hold", "forward", "row_predictor", "loss_of_outputs", "loss_and_gradient", "output_jacobian", "update",
    "train_epoch", "prepare_training", "prepare_gradient", "prepare_part", "prepare_update",
)  # fmt: skip
PRIMITIVES = ("dense_forward", "activation_derivative", "delta_backpropagation", "weight_gradient")
