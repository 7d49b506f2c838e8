"""The style sheet of the report.

Rule: colours are the variables of `canvas`; nothing is wider than the window but what scrolls in itself.
"""

from trainer.report.canvas import FONTS, scheme

CSS = (
    scheme(":root")
    + """
:root{--page:#f5f6f8;--soft:#eef2f7;--edge:#1b202922;color-scheme:light dark}
@media (prefers-color-scheme:dark){:root{--page:#12151b;--soft:#232935;--edge:#000a}}
*{box-sizing:border-box}
html{scroll-behavior:smooth;-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--ink);line-height:1.55;font-size:16px;font-family:"""
    + FONTS
    + """}
header,main,footer{max-width:1160px;margin:0 auto;padding:0 clamp(16px,3vw,32px)}
header{padding-top:clamp(28px,5vw,56px)}
h1{margin:0;font-size:clamp(1.8rem,4.5vw,2.6rem);line-height:1.15;letter-spacing:-.02em;overflow-wrap:anywhere}
h2{margin:0 0 .4em;font-size:1.4rem;line-height:1.25;letter-spacing:-.01em}
h3{margin:2em 0 .8em;font-size:1.05rem}
p{margin:.4em 0}
data,time,td,dd{font-variant-numeric:tabular-nums}
.made,.lead,.note,figcaption,footer,.legend{color:var(--muted)}
.lead{max-width:46em;margin-bottom:1.4em}
.note{font-size:.9rem;margin-top:.9em}
section{margin:28px 0;padding:clamp(18px,3vw,36px);background:var(--surface);border:1px solid var(--line);border-radius:14px;
scroll-margin-top:16px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(130px,1fr));gap:12px;margin:26px 0 0;align-content:start}
.tiles div{padding:14px 16px;background:var(--surface);border:1px solid var(--line);border-radius:12px}
section .tiles{margin:0}
section .tiles div{background:var(--soft);border-color:transparent}
dt{color:var(--muted);font-size:.85rem;overflow-wrap:anywhere}
dd{margin:2px 0 0;font-size:1.55rem;font-weight:650;letter-spacing:-.02em;line-height:1.2}
nav{display:flex;flex-wrap:wrap;gap:6px 18px;margin:22px 0 0;font-size:.92rem}
a{color:var(--first);text-decoration:none;border-bottom:1px solid transparent}
a:hover,a:focus-visible{border-bottom-color:currentColor}
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,400px),1fr));gap:28px clamp(24px,4vw,48px);align-items:start}
.grid.small{grid-template-columns:repeat(auto-fill,minmax(min(100%,270px),1fr))}
.grid>*{min-width:0}
figure{margin:0;min-width:0}
figure img{display:block;width:100%;height:auto;max-width:560px;margin:0 auto}
figcaption{margin-top:.7em;font-size:.92rem;overflow-wrap:anywhere}
figcaption b,figcaption data,.note b,.note data{color:var(--ink);font-weight:600}
.table{margin-top:28px}
.grid .table{margin-top:0}
.table figcaption{margin:0 0 8px;color:var(--ink);font-weight:600}
.scroll{overflow-x:auto;background:linear-gradient(90deg,var(--surface) 30%,transparent) 0 0/48px 100% no-repeat local,
linear-gradient(270deg,var(--surface) 30%,transparent) 100% 0/48px 100% no-repeat local,
linear-gradient(90deg,var(--edge),transparent) 0 0/14px 100% no-repeat scroll,
linear-gradient(270deg,var(--edge),transparent) 100% 0/14px 100% no-repeat scroll}
.scroll:focus-visible{outline:2px solid var(--first);outline-offset:4px}
table{border-collapse:collapse;width:100%;font-size:.92rem}
th,td{padding:8px 0 8px 14px;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
thead th{color:var(--muted);font-weight:550;font-size:.85rem;vertical-align:bottom;white-space:normal}
tbody tr:last-child>*{border-bottom:0}
th:first-child{text-align:left;font-weight:550;white-space:normal;padding-left:0}
.name{overflow-wrap:anywhere}
th:first-child span{display:block;min-width:7.6em;max-width:20em;overflow-wrap:anywhere}
.meter{display:inline-block;min-width:92px;padding:1px 6px;border-radius:4px;
background:linear-gradient(90deg,color-mix(in srgb,var(--first) 26%,transparent) var(--share),var(--soft) var(--share))}
.absent{padding:16px 18px;background:var(--soft);border-radius:10px;color:var(--muted);max-width:46em}
.unknown{color:var(--muted)}
.gallery{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,420px),1fr));gap:30px clamp(20px,4vw,48px)}
.card img{border-radius:8px;background:var(--soft)}
.card figcaption{font-size:.85rem;line-height:1.4;margin-top:.5em}
.card b,.card span{display:block}
.unread{display:grid;place-items:center;margin:0;min-height:160px;padding:20px;border-radius:8px;background:var(--soft);color:var(--muted);text-align:center}
.legend{display:flex;flex-wrap:wrap;gap:6px 22px;list-style:none;margin:0;padding:0;font-size:.92rem}
.legend li{display:flex;align-items:center;gap:8px}
.key{width:24px;height:17px;border-radius:2px;background:#59606c;flex:none}
footer{padding-top:8px;padding-bottom:48px;font-size:.85rem}
@media (max-width:520px){section{border-radius:0;border-left:0;border-right:0;margin:18px -16px}.tiles{grid-template-columns:1fr 1fr}
table{font-size:.85rem}thead th{font-size:.8rem}th,td{padding-left:10px}.meter{min-width:72px}}
@media print{section{break-inside:avoid-page;border:0}nav{display:none}}
"""
)
