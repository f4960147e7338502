"""nvinfer's files as they are: groups, keys, values and lines, of INI (GKeyFile) and YAML."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tensortap.errors import UsageError


@dataclass(frozen=True)
class Entry:
    """One value of a file."""

    value: str
    """As it is written, without quotes and white space around it."""
    line: int
    """From 1."""


@dataclass
class ConfigFile:
    """A file with its groups."""

    path: Path
    is_yaml: bool
    groups: dict[str, dict[str, Entry]] = field(default_factory=dict)
    repeated: list[str] = field(default_factory=list)
    """Places of keys that come twice in a group; the last one counts."""

    def where(self, group: str, key: str) -> str:
        """For messages: file, line and key."""
        return f"{self.path}, line {self.groups[group][key].line}: {key}"


def read_file(path: Path) -> ConfigFile:
    """Read either kind; which one is told by the suffix, as nvinfer does it.

    Raises:
        UsageError: it cannot be read, or is neither.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as exc:
        raise UsageError(f"The nvinfer configuration {path} cannot be read: {exc.strerror or exc}.") from exc
    except UnicodeDecodeError as exc:
        raise UsageError(f"The nvinfer configuration {path} is no text in UTF-8.") from exc
    is_yaml = path.suffix.lower() in (".yml", ".yaml")
    file = ConfigFile(path, is_yaml)
    if is_yaml:
        _read_yaml(file, text)
    else:
        _read_ini(file, text)
    if not file.groups.get("property"):
        raise UsageError(f"{path} has no group {'property' if is_yaml else '[property]'} with keys: it is no file of nvinfer.")
    return file


def _read_ini(file: ConfigFile, text: str) -> None:
    """GKeyFile: groups in brackets, key=value, comments are whole lines; a # behind a value belongs to it."""
    group: dict[str, Entry] | None = None
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("[") and line.endswith("]"):
            group = file.groups.setdefault(line[1:-1].strip(), {})
            continue
        key, equals, value = line.partition("=")
        if not equals:
            raise UsageError(f"{file.path}, line {number}: {line!r} is neither a [group], nor key=value, nor a # comment.")
        if group is None:
            raise UsageError(f"{file.path}, line {number}: {key.strip()} stands before the first [group].")
        _add(file, group, key.strip(), Entry(value.strip(), number))


def _read_yaml(file: ConfigFile, text: str) -> None:
    import yaml  # not for runs without such a file

    try:
        root = yaml.compose(text)
    except yaml.YAMLError as exc:
        raise UsageError(f"{file.path} is no YAML: {' '.join(str(exc).split())}") from exc
    if root is None:
        return
    if not isinstance(root, yaml.MappingNode):
        raise UsageError(f"{file.path} should be groups of keys, as in 'property:' with 'batch-size: 1' below it.")
    for name, content in root.value:
        if not isinstance(content, yaml.MappingNode):
            if getattr(content, "value", "") == "":
                continue  # an empty group
            raise UsageError(f"{file.path}, line {content.start_mark.line + 1}: {name.value} should hold keys.")
        group = file.groups.setdefault(str(name.value), {})
        for key, value in content.value:
            text_value = (
                ";".join(str(item.value) for item in value.value) if isinstance(value, yaml.SequenceNode) else str(value.value)
            )
            _add(file, group, str(key.value), Entry(text_value.strip(), key.start_mark.line + 1))


def _add(file: ConfigFile, group: dict[str, Entry], key: str, entry: Entry) -> None:
    if key in group:
        file.repeated.append(f"line {entry.line}: {key} came before, in line {group[key].line}; the last one counts")
    group[key] = entry
