"""The style sheet of the report: system fonts, one accent, light and dark, print."""

CSS = """
:root { color-scheme: light dark; --ink: #1f2933; --faint: #616e7c; --line: #e4e7eb;
  --paper: #ffffff; --panel: #f5f7fa; --accent: #0b69a3; --bad: #a4262c; --bad-panel: #fdf0f0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7eb; --faint: #9aa5b1; --line: #323f4b;
  --paper: #14191f; --panel: #1d252d; --accent: #62b0e8; --bad: #ff8a8a; --bad-panel: #33191b; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 48px 24px 96px; }
h1 { font-size: 2.1rem; line-height: 1.2; margin: 0 0 .3em; letter-spacing: -.015em;
  overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 0 0 .8em; padding-top: 1.1em; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.2em 0 .5em; overflow-wrap: anywhere; }
p { margin: 0 0 .5em; }
section { margin-top: 2.2em; }
.eyebrow { color: var(--accent); font-size: .8rem; font-weight: 600; letter-spacing: .06em;
  text-transform: uppercase; }
.lead { color: var(--faint); font-size: 1.05rem; max-width: 46em; }
.note { color: var(--faint); font-size: .92rem; }
.verdict { margin-top: 1.4em; max-width: 52em; }
.loss { background: var(--bad-panel); border-left: 3px solid var(--bad); padding: .6em .9em; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: 14px; }
.card { background: var(--panel); border-radius: 10px; padding: 16px 18px; }
.card p { margin: 0; }
.card .label { color: var(--faint); font-size: .86rem; }
.card .value { font-size: 2.1rem; font-weight: 650; line-height: 1.3; letter-spacing: -.02em; }
.card .value span { font-size: 1rem; font-weight: 400; color: var(--faint); letter-spacing: 0; }
.range { color: var(--faint); font-size: .86rem; white-space: nowrap; }
td .range { display: block; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .92rem;
  font-variant-numeric: tabular-nums; }
td:first-child, td:nth-child(2) { min-width: 9em; }
th { text-align: left; color: var(--faint); font-weight: 500; font-size: .84rem;
  padding: 4px 14px 8px 0; vertical-align: bottom; }
td { padding: 6px 14px 6px 0; vertical-align: baseline; }
tr.group td { border-top: 1px solid var(--line); padding-top: 10px; }
.tag { color: var(--faint); border: 1px solid var(--line); border-radius: 99px; font-size: .74rem;
  padding: 1px 8px; white-space: nowrap; display: inline-block; }
.tag.new { color: var(--bad); border-color: var(--bad); }
.tags { display: block; line-height: 1.9; max-width: 19em; }
.absent { color: var(--faint); }
.bad { color: var(--bad); font-weight: 600; }
figure { margin: 1.2em 0 0; }
figure img { display: block; max-width: 100%; height: auto; background: #fff; padding: 10px;
  border: 1px solid var(--line); border-radius: 10px; }
figcaption { color: var(--faint); font-size: .88rem; margin-top: .5em; }
dl { display: grid; grid-template-columns: minmax(120px, 13em) 1fr; gap: .55em 1.4em; margin: 0;
  font-size: .94rem; }
dt { color: var(--faint); overflow-wrap: anywhere; }
dd { margin: 0; overflow-wrap: anywhere; max-width: 52em; }
.lineage dd { font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace; font-size: .86rem; }
@media (max-width: 640px) { main { padding: 28px 16px 64px; } dl { grid-template-columns: 1fr;
  gap: .1em; } dd { margin-bottom: .7em; } }
@media print { main { max-width: none; padding: 0; } figure, .card, tr { break-inside: avoid; } }
"""
