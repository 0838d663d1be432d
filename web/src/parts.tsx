/** Parts that several views share. */
import type { Signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useRef } from "preact/hooks";
import { opened, withWord } from "./choices";

export function Section(props: { id: string; title: string; lead?: ComponentChildren; children: ComponentChildren }) {
  return (
    <section id={props.id} aria-labelledby={`${props.id}-title`}>
      <header class="section-head">
        <h2 id={`${props.id}-title`}>{props.title}</h2>
        {props.lead && <p class="lead">{props.lead}</p>}
      </header>
      {props.children}
    </section>
  );
}

/** A choice of a few: radio buttons that look like one bar. */
export function Choice<T extends string>(props: { label: string; value: Signal<T>; options: readonly (readonly [T, string])[] }) {
  const name = props.label.replaceAll(/\W+/g, "-").toLowerCase();
  return (
    <fieldset class="choice">
      <legend>{props.label}</legend>
      {props.options.map(([value, text]) => (
        <label key={value}>
          <input
            type="radio"
            name={name}
            value={value}
            checked={props.value.value === value}
            onChange={() => (props.value.value = value)}
          />
          <span>{text}</span>
        </label>
      ))}
    </fieldset>
  );
}

export function Button(props: { label: string; onClick: () => void; disabled?: boolean; children?: ComponentChildren }) {
  return (
    <button type="button" class="button" aria-label={props.label} title={props.label} disabled={props.disabled} onClick={props.onClick}>
      {props.children ?? props.label}
    </button>
  );
}

/** A button, and what it opens above the page. */
export function Dialog(props: { label: string; link?: boolean; children: ComponentChildren }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const close = () => dialog.current!.close();
  return (
    <>
      <button type="button" class={props.link ? "link" : "button"} aria-haspopup="dialog" onClick={() => dialog.current!.showModal()}>
        {props.label}
      </button>
      <dialog ref={dialog} aria-label={props.label} onClick={(event) => event.target === dialog.current && close()}>
        {props.children}
        <button type="button" class="button" onClick={close}>Close</button>
      </dialog>
    </>
  );
}

/** A table of what a picture shows, for who asks; `name` is what it is called in a link. */
export function AsTableToo(props: { name: string; isOpen?: boolean; children: ComponentChildren }) {
  const isOpen = props.isOpen || opened.value.includes(props.name);
  const toggle = (event: Event) => {
    const { open } = event.currentTarget as HTMLDetailsElement;
    if (open !== opened.peek().includes(props.name)) opened.value = withWord(opened.peek(), props.name, open);
  };
  return (
    <details class="alternative" open={isOpen} onToggle={toggle}>
      <summary>The same as a table</summary>
      {props.children}
    </details>
  );
}

export function Empty(props: { children: ComponentChildren }) {
  return <p class="empty">{props.children}</p>;
}

/** Stands where something would be that the recording cannot know. */
export function Unknown(props: { why: string | null }) {
  return <Empty>Unknown: {props.why}.</Empty>;
}

/** Facts as pairs of a word and a value. */
export function Facts(props: { facts: (readonly [string, ComponentChildren])[] }) {
  return (
    <dl class="facts">
      {props.facts.map(([word, value]) => (
        <div key={word}>
          <dt>{word}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

const ICONS = {
  play: "M4 2.5v11l9-5.5z",
  pause: "M4 2.5h3v11H4zM9 2.5h3v11H9z",
  back: "M3 2.5h2v11H3zM13.5 2.5v11L6 8z",
  on: "M11 2.5h2v11h-2zM2.5 2.5v11L10 8z",
};

export function Icon({ name }: { name: keyof typeof ICONS }) {
  return (
    <svg class="icon" viewBox="0 0 16 16" aria-hidden="true">
      <path d={ICONS[name]} />
    </svg>
  );
}
