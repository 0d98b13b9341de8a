"""What a network costs, how well it does, and whether the difference between two is real."""

from videonl.doors import doors

__getattr__, __dir__, __all__ = doors(
    __name__,
    {
        "accuracy": "differences paired_tests read_set",
        "compare": "compare_models",
        "cost": "count_cost",
        "entry": "Entry parse_entry row_names",
        "reach": "receptive_field",
        "result": "Comparison Row Score",
        "speed": "Subject measure",
        "statistics": "holm mcnemar_exact paired_bootstrap quartiles wilson_interval",
        "sweep": "Sweep read_sweep",
        "table": "csv_text markdown",
        "trained_rows": "Budget",
    },
)
