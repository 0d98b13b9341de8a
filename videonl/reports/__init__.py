"""Results as pages and pictures; their texts are files in ``templates``."""

from videonl.reports.chart import chart_of, draw_chart, save_chart
from videonl.reports.comparison import comparison_page, write_comparison
from videonl.reports.pages import render, server_page, server_policy
from videonl.reports.video import attention_section, video_page

__all__ = [
    "attention_section",
    "chart_of",
    "comparison_page",
    "draw_chart",
    "render",
    "save_chart",
    "server_page",
    "server_policy",
    "video_page",
    "write_comparison",
]
