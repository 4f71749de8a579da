"""Estimators for tables as they are: preprocessing, training recipe, members and folds."""
