"""Estimators with scikit-learn's interface: MLPClassifier, MLPRegressor, ensembles and classic linear models."""
