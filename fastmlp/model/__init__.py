"""The model API: MLP, its layers, losses, optimizers and initial weights."""
