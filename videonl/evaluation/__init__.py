"""What a network costs, how well it does, and whether the difference between two is real."""

from videonl.doors import doors

__getattr__, __dir__, __all__ = doors(
    __name__,
    {
        "compare": "compare_models",
        "cost": "count_cost",
        "receptive": "receptive_field",
        "result": "Comparison Row Score",
        "statistics": "holm mcnemar_exact paired_bootstrap wilson_interval",
        "sweep": "Sweep read_sweep",
    },
)
