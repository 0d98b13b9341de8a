"""What a non-local block looks at (the paper's Figure 3)."""

from videonl.doors import doors

__getattr__, __dir__, __all__ = doors(
    __name__,
    {
        "attention": "attend",
        "map": "AttentionMap",
        "geometry": "Lattice trace_blocks",
        "summary": "summarise_attention",
    },
)
