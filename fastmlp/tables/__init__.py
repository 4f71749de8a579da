"""Preprocessing of tables: columns of any kind become a matrix for a network's input stage, targets become numbers."""

from .encoder import TableEncoder
from .kinds import Encoded
from .targets import LabelTargets, NumberTargets

__all__ = ["Encoded", "LabelTargets", "NumberTargets", "TableEncoder"]
