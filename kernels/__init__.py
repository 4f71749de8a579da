"""Every hot loop of fastmlp. A backend is a module with the functions of CONTRACT; numpy_reference says what they do."""

CONTRACT = ("forward", "loss_and_gradient", "update", "train_epoch")
PIECES = ("dense_forward", "activation_derivative", "delta_backpropagation", "weight_gradient")
