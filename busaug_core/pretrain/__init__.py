"""How the base model mini is trained: its parts, their trainings by the loop of `train`, evaluation, export."""
