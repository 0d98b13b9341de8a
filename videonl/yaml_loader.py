"""YAML as people write it: without tags and dates, and with 1e-4 as a number."""

import re
from typing import Any

import yaml

FLOAT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?\.(inf|INF)|\.(nan|NAN)")


class RepeatedKey(yaml.MarkedYAMLError):
    """A key that stands twice in one table."""


class Loader(yaml.SafeLoader):
    """YAML without tags and dates, in which 1e-4 is a number (YAML 1.1 takes it for text)."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """A table; a key that stands twice in it is an error, not the loss of the first one."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)  # type: ignore[misc]
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in seen:
                    raise RepeatedKey(
                        problem=f"{key.value!r} stands there twice", problem_mark=key.start_mark
                    )
                seen.add(key.value)
        return node


Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in pairs if not tag.endswith((":float", ":timestamp"))]
    for letter, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(rf"^({FLOAT.pattern})$"), list("-+0123456789.")
)
# The first pattern that fits wins: whole numbers are tried before floats.
for _letter, _pairs in Loader.yaml_implicit_resolvers.items():
    _pairs.sort(key=lambda pair: pair[0].endswith(":float"))
