"""Strict reading of YAML: no duplicate keys, no objects, no excessive expansion of aliases."""

from typing import Any

import yaml

MOST = 10_000
"""Largest number of values that a file may hold after expansion; a recipe has two hundred."""
DEEPEST = 50
"""Largest nesting depth; a recipe has five."""


def load_yaml(text: str) -> Any:
    """Values of one YAML document.

    Raises
    ------
    yaml.YAMLError
        If it is not valid YAML, has duplicate keys, or is nested or expanded (aliases of aliases)
        excessively.
    """
    loader = _StrictLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, {}, ())
        return loader.construct_document(node)
    except RecursionError:
        raise yaml.YAMLError(f"it is nested more than {DEEPEST} deep") from None
    except ValueError as error:  # text tagged as a number or date that is not one
        raise yaml.YAMLError(str(error)) from error
    finally:
        loader.dispose()


class _StrictLoader(yaml.SafeLoader):
    """Safe loader that refuses duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The method of YAML's loader."""
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        for key, (place, _) in zip(keys, node.value, strict=False):
            if isinstance(key, str) and keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is there twice: keep one of them", place.start_mark
                )
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def _count(node: yaml.Node, known: dict[int, int], above: tuple[int, ...]) -> int:
    """Values that a node unfolds to, each alias counted where it is used."""
    if id(node) in above or len(above) > DEEPEST:
        raise yaml.YAMLError(f"it is nested more than {DEEPEST} deep, or contains itself")
    if id(node) not in known:
        inside: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            inside = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            inside = node.value
        known[id(node)] = 1 + sum(_count(part, known, (*above, id(node))) for part in inside)
    if known[id(node)] > MOST:
        raise yaml.YAMLError(f"it unfolds to more than {MOST} values")
    return known[id(node)]
