#!/usr/bin/env python3
"""Writes a page about each element of the plugin to docs/elements: what its module says of it, and what GStreamer's introspection shows.

    element-pages.py            fails and shows what differs if the pages are not those of the plugin that GStreamer finds
    element-pages.py --write    writes them

`./x swsync`'s build has to be there; `./x shell -c 'tools/element-pages.py --write'` does both. tests/hygiene.rs compares them.
"""

import difflib
import re
import sys
from pathlib import Path

import gi

gi.require_version("Gst", "1.0")
from gi.repository import GLib, GObject, Gst  # noqa: E402 (the version has to be set first)

TOP = Path(__file__).resolve().parent.parent
PAGES = TOP / "docs/elements"
ELEMENTS = ["swsyncclock", "swsyncsrc", "swsyncsink", "swsyncgate"]
PROVIDER = "swsyncdeviceprovider"
COMMAND = "./x shell -c 'tools/element-pages.py --write'"

# From gstparamspecs.h; introspection has only their sum.
CONTROLLABLE, IN_READY, IN_PAUSED, IN_PLAYING = (1 << bit for bit in (9, 10, 11, 12))
# How far a property's range goes, where it is that of its type.
TYPES = {"guint": "uint", "gint": "int", "guint64": "uint64", "gint64": "int64", "gdouble": "double", "gfloat": "float",
         "gboolean": "boolean", "gchararray": "string"}
ENDS = {GLib.MAXUINT: "2^32 - 1", GLib.MAXINT: "2^31 - 1", GLib.MAXUINT64: "2^64 - 1", GLib.MAXINT64: "2^63 - 1",
        GLib.MININT: "-2^31", GLib.MININT64: "-2^63"}
# Chapters of a module's documentation that are about its source.
OF_THE_SOURCE = {"swsyncsrc": ["Files"]}


def module_text(folder):
    """What a module says of itself, without the links that only rustdoc knows; headings one level down."""
    lines, skipping, in_code = [], False, False
    for line in (TOP / f"gst-plugin-swsync/src/{folder}/mod.rs").read_text().splitlines():
        if not line.startswith("//!"):
            break
        line = line[3:].removeprefix(" ")
        if line.startswith("```"):
            in_code = not in_code
            # Examples are kept from a chapter about the source, too.
            skipping = skipping and not in_code
        elif line.startswith("# ") and not in_code:
            skipping = line[2:] in OF_THE_SOURCE.get(folder, [])
            line = "#" + line
        if not skipping:
            lines.append(line)
    text = "\n".join(lines).strip()
    text = re.sub(r"\[`(\w+)`\]\(super::(\w+)\)", r"[`\1`](\2.md)", text)
    text = re.sub(r"\[(`[^`]+`)\]\([\w:]+\)", r"\1", text)
    # Pages are named from the top of the checkout there.
    text = re.sub(r"(?<![\w/])docs/([\w/]+\.md)", r"[docs/\1](../\1)", text)
    # The first line says the name, as the page's title does.
    return re.sub(r"^`\w+`: (\w)", lambda found: found[1].upper(), text)


def type_name(gtype):
    return TYPES.get(gtype.name, gtype.name)


def shown(value):
    """A value in a table."""
    if isinstance(value, float):
        return "%g" % value
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "none"
    return ENDS.get(value, str(value)) if isinstance(value, int) else f"`{value}`"


def properties_of(owner):
    """The own properties of a type, not those of its base classes."""
    found = GObject.list_properties(owner)
    return sorted((p for p in found if p.owner_type == owner), key=lambda p: p.name)


def access(spec):
    """Who may read and write it, and when."""
    if not spec.flags & GObject.ParamFlags.WRITABLE:
        return "read"
    words = "read, write" if spec.flags & GObject.ParamFlags.READABLE else "write"
    # Every state also means those before it.
    for flag, name in ((IN_PLAYING, "in any state"), (IN_PAUSED, "up to PAUSED"), (IN_READY, "up to READY")):
        if spec.flags & flag:
            return f"{words} {name}"
    if spec.flags & GObject.ParamFlags.CONSTRUCT_ONLY:
        return f"{words} when it is made"
    return words


def value_of(spec):
    """Type, range and default."""
    name, default = type_name(spec.value_type), getattr(spec, "default_value", None)
    if spec.value_type.is_a(GObject.TYPE_ENUM):
        return name, "", f"`{GObject.enum_get_value(spec.enum_class, default).value_nick}`"
    if hasattr(spec, "minimum") and hasattr(spec, "maximum"):
        return name, f"{shown(spec.minimum)} to {shown(spec.maximum)}", shown(default)
    return name, "", shown(default) if spec.flags & GObject.ParamFlags.WRITABLE else ""


def escaped(text):
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def choices(spec):
    """The values of an enumeration."""
    if not spec.value_type.is_a(GObject.TYPE_ENUM):
        return ""
    kind = spec.enum_class
    values = (GObject.enum_get_value(kind, number) for number in range(kind.minimum, kind.maximum + 1))
    lines = (f"`{value.value_nick}`: {escaped(value.value_name)}" for value in values if value)
    return "<br>" + "<br>".join(lines)


def property_table(owner):
    rows = ["| property | type | range | default | access | what it says |", "| --- | --- | --- | --- | --- | --- |"]
    for spec in properties_of(owner):
        name, reach, default = value_of(spec)
        text = escaped(spec.blurb) + choices(spec)
        rows.append(f"| `{spec.name}` | {name} | {reach} | {default} | {access(spec)} | {text} |")
    return rows


def signals(owner):
    lines = []
    for number in GObject.signal_list_ids(owner):
        query = GObject.signal_query(number)
        parameters = ", ".join(type_name(kind) for kind in query.param_types)
        kind = "action signal, emitted by applications" if query.signal_flags & GObject.SignalFlags.ACTION else "signal"
        lines.append(f"- `{query.signal_name} ({parameters}) -> {type_name(query.return_type)}`: {kind}")
    return sorted(lines)


def pads(factory):
    lines = []
    # GStreamer's list is the other way round once its registry comes from a file.
    for template in sorted(factory.get_static_pad_templates(), key=lambda it: (it.direction != Gst.PadDirection.SINK, it.name_template)):
        direction = "sink" if template.direction == Gst.PadDirection.SINK else "source"
        presence = {"ALWAYS": "always there", "REQUEST": "made on request", "SOMETIMES": "comes and goes"}
        # Which raw formats there are depends on the version of GStreamer.
        caps = re.sub(r"format=\(string\)\{[^}]{200,}\}", "format=(any raw format)", template.get_caps().to_string())
        caps = caps.replace("; ", ";\n    ")
        presence = presence[template.presence.value_name.removeprefix("GST_PAD_")]
        lines += [f"`{template.name_template}`: {direction}, {presence}", "", f"    {caps}", ""]
    return lines


def pad_types(element):
    """The types of pads that have properties of their own: the names of their templates, and a type."""
    templates = element.get_pad_template_list() if isinstance(element, Gst.Element) else []
    names = {}
    for template in templates:
        pad = element.get_static_pad(template.name_template) or element.request_pad(template, None, None)
        if type(pad) is not Gst.Pad and properties_of(type(pad).__gtype__):
            names.setdefault(type(pad).__gtype__, []).append(f"`{template.name_template}`")
    return [(", ".join(sorted(found)), kind) for kind, found in names.items()]


def chapter(title, lines):
    return ["", f"## {title}", "", *lines] if lines else []


def page(name, factory, folder, element):
    owner = type(element).__gtype__
    meta = {key: factory.get_metadata(key) for key in ("long-name", "klass", "description")}
    lines = [
        f"# {name}", "", f"{meta['long-name']} ({meta['klass']}). {meta['description']}.", "",
        f"*This page is made from the plugin: `{COMMAND}` writes it anew.*", "", module_text(folder),
    ]
    if isinstance(factory, Gst.ElementFactory):
        lines += chapter("Pads", pads(factory)[:-1])
    lines += chapter("Properties", property_table(owner) if properties_of(owner) else [])
    for names, kind in pad_types(element):
        lines += chapter(f"Properties of the pads {names}", property_table(kind))
    lines += chapter("Signals", signals(owner))
    return "\n".join(lines).rstrip() + "\n"


def pages():
    """Each page's path and text."""
    for name in ELEMENTS:
        factory = Gst.ElementFactory.find(name)
        if factory is None:
            sys.exit(f"element-pages: GStreamer finds no {name}: {COMMAND}")
        yield PAGES / f"{name}.md", page(name, factory.load(), name, factory.create(None))
    factory = Gst.DeviceProviderFactory.find(PROVIDER)
    yield PAGES / f"{PROVIDER}.md", page(PROVIDER, factory.load(), "swsyncdevices", factory.get())


def main():
    Gst.init(None)
    write, differs = sys.argv[1:] == ["--write"], False
    for path, text in pages():
        if write:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            continue
        there = path.read_text() if path.exists() else ""
        name = str(path.relative_to(TOP))
        found = list(difflib.unified_diff(there.splitlines(), text.splitlines(), name, "the plugin", lineterm="", n=1))
        differs = differs or bool(found)
        print("\n".join(found), end="\n" if found else "")
    if differs:
        sys.exit(f"element-pages: the pages are not those of this plugin; {COMMAND}")


if __name__ == "__main__":
    main()
