/** How a report's page looks. Colours are GitHub's own by day and by night (primer.style, "Color"). */
export const style = `
:root { --page: #ffffff; --text: #1f2328; --quiet: #59636e; --line: #d1d9e0; --fill: #f6f8fa; --bar: #0969da; --bad: #cf222e; --warn: #9a6700; }
@media (prefers-color-scheme: dark) {
  :root { --page: #0d1117; --text: #f0f6fc; --quiet: #9198a1; --line: #3d444d; --fill: #151b23; --bar: #4493f8; --bad: #f85149; --warn: #d29922; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text); font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
main { max-width: 60rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0.5rem 0 1rem; }
h2 { font-size: 1.1rem; margin: 2rem 0 0.5rem; }
code, pre { font: 0.875em/1.45 ui-monospace, monospace; background: var(--fill); border-radius: 4px; }
code { padding: 0.1em 0.3em; }
pre { padding: 0.75rem; overflow-x: auto; white-space: pre-wrap; }
blockquote { margin: 1rem 0; padding: 0.5rem 1rem; border-left: 4px solid var(--warn); background: var(--fill); white-space: pre-wrap; }
a { color: var(--bar); }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; width: 100%; }
th, td { border: 1px solid var(--line); padding: 0.35rem 0.6rem; text-align: left; vertical-align: top; min-width: 5.5rem; overflow-wrap: break-word; }
th:empty, td:empty { min-width: 0; }
th { background: var(--fill); }
h1 + .wide td { font-size: 1.1rem; font-weight: 600; }
summary { cursor: pointer; margin: 1rem 0; }
.bars { list-style: none; margin: 0; padding: 0; }
.bars li { display: grid; grid-template-columns: minmax(6rem, 14rem) 1fr minmax(5rem, auto); gap: 0.75rem; align-items: center; padding: 0.2rem 0; }
.track { background: var(--fill); border-radius: 3px; height: 1rem; overflow: hidden; }
.bar { display: block; height: 100%; min-width: 2px; background: var(--bar); border-radius: 3px; }
.bar.bad { background: var(--bad); }
.value, figcaption { color: var(--quiet); font-size: 0.9rem; }
.value { text-align: right; }
figure { margin: 0; }
svg { width: 100%; height: auto; }
polygon { fill: var(--bar); opacity: 0.2; }
polyline { fill: none; stroke: var(--bar); stroke-width: 2; }
@media (max-width: 40rem) {
  .bars li { grid-template-columns: 1fr auto; }
  .track { grid-column: 1 / -1; grid-row: 2; }
  h1 + .wide thead { display: none; }
  h1 + .wide td { display: block; border-bottom-width: 0; }
  h1 + .wide td:last-child { border-bottom-width: 1px; }
  h1 + .wide td::before { content: attr(data-head); display: block; color: var(--quiet); font-size: 0.8rem; font-weight: 400; }
}
`;
