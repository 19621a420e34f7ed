"""What people read about an adaptation: a short Markdown page after each step, and the closing lines."""

from __future__ import annotations

from textclf.config.adaptation import AdaptConfig
from textclf.config.home import Home
from textclf.data.quarantine import reason_name
from textclf.language import _, joined
from textclf.records import AdaptedEncoder, CollectedTexts, FetchedModel, PackedTexts, RegisteredEncoder
from textclf.registry.encoders import figures, usage
from textclf.summaries.commands import program, script
from textclf.summaries.training import model_origin, run_line
from textclf.tables import display_width, markdown_table, markdown_text


def origin_summary(model: FetchedModel | None) -> str:
    """Says where the encoder came from."""
    return f"# {_('Download')}\n\n{model_origin(model)}"


def texts_summary(texts: CollectedTexts) -> str:
    """Counts the rows that are used, and those left out by reason."""
    counts = texts.counts
    rows = [
        [_("Rows"), _("number")],
        [_("read"), f"{counts.read:,}"],
        [_("to train"), f"{texts.rows['train']:,}"],
        [_("to validate"), f"{texts.rows['validation']:,}"],
        [_("left out: held out"), f"{counts.held_out:,}"],
        [_("left out: copies"), f"{counts.copies:,}"],
        *(
            [_("left out: {reason}").format(reason=reason_name(reason)), f"{count:,}"]
            for reason, count in counts.broken.items()
        ),
    ]
    title = _("Unlabelled texts")
    title = _("{text} (reused from an earlier run)").format(text=title) if texts.cached else title
    return f"# {title}\n\n{markdown_table(rows)}"


def packed_summary(packed: PackedTexts) -> str:
    """Describes the sequences."""
    sentence = _(
        "{tokens:,} tokens of {words:,} words in {sequences:,} sequences of {length:,} tokens; {unknown:.2%} of the "
        "tokens are unknown. Vocabulary size {size:,}."
    ).format(
        tokens=packed.tokens,
        words=packed.words,
        sequences=packed.sequences["train"],
        length=packed.sequence_length,
        unknown=packed.unknown_share,
        size=packed.vocabulary_size,
    )
    title = _("{text} (reused from an earlier run)").format(text=_("Tokens")) if packed.cached else _("Tokens")
    return f"# {title}\n\n{sentence}"


def adapted_summary(adapted: AdaptedEncoder, link: str | None) -> str:
    """Describes how long the adaptation took, and what it reached."""
    parts = [f"# {_('Adaptation')}"]
    if adapted.resumed_from_step:
        parts.append(_("Resumed from step {step:,}.").format(step=adapted.resumed_from_step))
    duration = _("{steps:,} steps, {epochs:.1f} epochs, {seconds:,.0f} s.").format(
        steps=adapted.steps, epochs=adapted.epochs, seconds=adapted.seconds
    )
    return "\n\n".join([*parts, joined(duration, figures(adapted)), run_line(adapted.run_id, link)])


def adaptation_message(registered: RegisteredEncoder, adapted: AdaptedEncoder) -> str:
    """Says in a line what was registered, and how good it is."""
    version = _("{name} version {version}").format(name=registered.name, version=registered.version)
    return f"{version}: {figures(adapted)}"


def encoder_summary(registered: RegisteredEncoder, link: str | None) -> str:
    """Says how a training begins with the encoder."""
    version = _("{name} version {version}").format(name=markdown_text(registered.name), version=registered.version)
    return "\n\n".join([f"# {version}", usage(registered.name), run_line(registered.run_id, link)])


def adaptation_closing(config: AdaptConfig, registered: RegisteredEncoder, home: Home) -> str:
    """Formats the closing message: what was registered, and the next commands."""
    source = f'{{"provider": "registry", "name": "{registered.name}"}}'
    store = "" if home.mlflow_page else f" --backend-store-uri {home.tracking_uri}"
    commands = {
        _("Fine-tune it:"): f"{program('python')} {script('flows/train_flow.py')} --config FILE --model.sources "
        f"'[{source}]'",
        _("Look at its loss:"): home.mlflow_page or f"{program('mlflow')} ui{store}",
    }
    lines = [
        _("Registered {name} version {version}, an encoder adapted to {data}.").format(
            name=registered.name, version=registered.version, data=config.data.name
        ),
        "",
        *(f"{what}{' ' * max(21 - display_width(what), 1)}{command}" for what, command in commands.items()),
    ]
    return "\n".join(lines)
