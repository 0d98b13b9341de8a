"""What a non-local block attends to (the paper's Figure 3)."""

from videonl import doors

__getattr__, __dir__, __all__ = doors(
    __name__,
    {
        "attention": "attend",
        "map": "KINDS AttentionMap Place",
        "figure": "arrows_of clip_frame draw_figure frames_to_draw save_figure",
        "heat_map": "heat overlay write_gif write_mp4",
        "geometry": "Lattice trace_blocks",
        "summary": "summarise_attention",
    },
)
