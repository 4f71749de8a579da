"""All hot loops. A backend is a module with the functions listed here; reference/contract.py says what each does."""

CONTRACT = ("hold", "forward", "row_predictor", "loss", "loss_of_outputs", "loss_and_gradient", "update", "train_epoch")
PIECES = ("dense_forward", "activation_derivative", "delta_backpropagation", "weight_gradient")
