"""Fine-tune a visuomotor policy with little robot time (SOFT-FLOW, arXiv:2602.09580)."""

__version__ = "0.1.0"
