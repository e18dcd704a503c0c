"""Theoretical limits of language-model alignment: estimators, rewards and samplers.

Kept empty of imports on purpose: importing one module never loads another's dependencies.
"""

__version__ = "0.1.0"
