"""Training with Lightning: module, metrics, recipes, checkpoints and result files."""

from videonl import doors

__getattr__, __dir__, __all__ = doors(
    __name__,
    {
        "classifier": "VideoClassifier",
        "defaults": "FINE_TUNING Choices DataFacts choose data_facts",
        "fine_tuning": "batch_norms",
        "plots": "plot_confusion plot_curves",
        "callbacks.summary": "write_summary",
        "fitting": "FitResult fit",
        "evaluation": "Evaluation evaluate predict",
        "plan": "duration make_plan plan_lines",
        "recipe": "Recipe make_optimizer make_recipe parameter_groups rate_factor scaled_rate",
        "trainer": "make_trainer",
        "task": "classification_loss multi_hot multi_label_loss",
        "mixing": "StepSeed mix one_hot",
        "callbacks.ema": "MovingAverage",
        "recompute": "recompute_stages",
        "callbacks.finite": "FiniteLoss TrainingDiverged",
        "callbacks.stopping": "TrainingStopped",
        "callbacks.checkpoints": "AtomicCheckpointIO Checkpoints read_checkpoint",
        "runs": "new_run resume_path",
        "metrics": "ClassificationMeter MultiLabelMeter average_precision mean_loss negative_log",
        "signs": "Course constant_loss signs_of",
        "callbacks.metrics_file": "MetricsFile read_metrics",
        "callbacks.logged": "RateLog",
        "callbacks.progress": "ProgressLines SpeedMonitor TerminalBar",
    },
)
