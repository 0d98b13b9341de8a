"""Style and script of the report page; both stand inside the page."""

STYLE = """
:root { color-scheme: light; --ink: #1c2530; --soft: #5b6673; --line: #dde2e8; --back: #f4f6f8;
        --blue: #2f6fb2; }
* { box-sizing: border-box; } [hidden] { display: none !important; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: #fff; margin: 0 auto;
       max-width: 66rem; padding: 1.2rem; overflow-wrap: anywhere; }
h1 { font-size: 1.4rem; margin: 0 0 1rem; line-height: 1.25; }
h2 { font-size: 1rem; margin: 0 0 .5rem; } section { margin-top: 1.4rem; }
.kicker, .note, em, #now { color: var(--soft); font-style: normal; font-size: .88rem; }
.kicker { margin: 0; } .note { margin: .5rem 0; }
.stage { display: grid; grid-template-columns: minmax(0, 3fr) minmax(0, 2fr); gap: 1.4rem; }
.player { background: #10151b; border-radius: .5rem; overflow: hidden; display: flex;
          min-height: 12rem; }
.player video, .player img { width: 100%; max-height: 26rem; object-fit: contain; }
.answers { margin: 0; } ol { list-style: none; margin: 0; padding: 0; }
.answers li { display: grid; grid-template-columns: 1fr auto; column-gap: .8rem;
              margin-bottom: .55rem; }
.answers li:first-child span { font-weight: 700; }
.answers i { grid-column: 1 / -1; height: .35rem; border-radius: 1rem; background: var(--blue); }
b { font-variant-numeric: tabular-nums; font-weight: 600; }
#track { position: relative; height: 2.6rem; background: var(--back); border-radius: .4rem;
         overflow: hidden; cursor: pointer; }
.bar { position: absolute; top: 0; bottom: 0; border-right: 1px solid #fff; overflow: hidden;
       white-space: nowrap; color: #fff; font-size: .82rem; line-height: 2.6rem; }
.bar span { padding-left: .5rem; }
#window { position: absolute; top: 0; bottom: 0; border: 2px solid var(--ink);
          border-radius: .3rem; pointer-events: none; }
#seek { width: 100%; margin: .5rem 0 0; accent-color: var(--blue); height: 1.6rem; }
#now { margin: .2rem 0 0; min-height: 1.5em; font-variant-numeric: tabular-nums; }
.strip { display: grid; grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr));
         gap: .5rem; }
.strip button { padding: 0; border: 2px solid transparent; border-radius: .4rem; overflow: hidden;
                background: var(--back); cursor: pointer; font: inherit; }
.strip img { display: block; width: 100%; aspect-ratio: 4 / 3; object-fit: cover; }
.strip span { font-size: .8rem; color: var(--soft); }
.lit { border-color: var(--ink) !important; }
.segment { width: 100%; display: grid; grid-template-columns: .8rem 1fr auto 3rem; gap: .7rem;
           align-items: center; text-align: left; font: inherit; color: inherit; padding: .5rem;
           background: none; border: 2px solid transparent; border-bottom-color: var(--line);
           cursor: pointer; }
.segment:hover { background: var(--back); } .segment b { text-align: right; }
.segment i { width: .8rem; height: .8rem; border-radius: 50%; }
:focus-visible { outline: 3px solid #e0a800; outline-offset: 2px; }
.attention p { margin: 0 0 .6rem; } .wide { overflow-x: auto; }
.wide img { display: block; width: 100%; min-width: 46rem; }  /* its words stay readable */
details { margin-top: 1.4rem; } summary { cursor: pointer; font-weight: 600; }
pre { background: var(--back); padding: .8rem; overflow-x: auto; font-size: .82rem; }
@media (max-width: 640px) {
  body { padding: .8rem; } .stage { grid-template-columns: minmax(0, 1fr); gap: 1rem; }
  .strip { grid-template-columns: repeat(3, minmax(0, 1fr)); }
}
"""

SCRIPT = """
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const find = id => document.getElementById(id);
const seek = find("seek"), now = find("now"), still = find("still"), track = find("track");
let video = find("video"), shown = -1;
seek.max = data.duration;
const last = (list, time) => {  // the last entry that begins at or before a time
  let low = 0, high = list.length - 1;
  while (low < high) { const mid = (low + high + 1) >> 1;
    if (list[mid] <= time + 1e-3) low = mid; else high = mid - 1; }
  return low;
};
const strip = [...document.querySelectorAll(".strip button")];
const rows = [...document.querySelectorAll(".segment")];
const light = (nodes, test) => nodes.forEach((node, i) => {
  node.classList.toggle("lit", test(i));
  if (test(i)) node.setAttribute("aria-current", "true"); else node.removeAttribute("aria-current");
});
function show(time) {
  seek.value = time;
  let text = time.toFixed(1) + " s of " + data.duration.toFixed(1) + " s";
  const picture = last(data.pictures, time);
  light(strip, i => i === picture);
  if (picture !== shown) still.src = strip[picture].querySelector("img").src;
  shown = picture;
  if (data.spans) {
    const number = Math.min(last(data.edges, time), data.spans.length - 1);
    const [start, end] = data.spans[number], box = find("window");
    box.style.left = 100 * start / data.duration + "%";
    box.style.width = 100 * (end - start) / data.duration + "%";
    box.dataset.number = number;
    text += " \\u00b7 window " + start.toFixed(1) + " to " + end.toFixed(1) + " s: " +
      data.top[number].map(([n, p]) => n + " " + (100 * p).toFixed(0) + " %").join(", ");
    light(rows, i => data.segments[i][0] <= time + 1e-3 && time + 1e-3 < data.segments[i][1]);
  }
  now.textContent = text;
  seek.setAttribute("aria-valuetext", text);
}
function go(time) {
  time = Math.max(0, Math.min(time, data.duration));
  if (video) video.currentTime = time;
  show(time);
}
seek.addEventListener("input", () => go(Number(seek.value)));
seek.addEventListener("keydown", event => {  // a second per arrow, however long the video
  const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
  if (!step) return;
  event.preventDefault(); go(Number(seek.value) + step);
});
if (track) track.addEventListener("click", event => {
  const place = track.getBoundingClientRect();
  go((event.clientX - place.left) / place.width * data.duration);
});
for (const node of document.querySelectorAll("[data-seek]"))
  node.addEventListener("click", () => go(Number(node.dataset.seek)));
if (video) {
  let raf = 0;
  const follow = () => { show(video.currentTime); raf = requestAnimationFrame(follow); };
  video.addEventListener("play", () => { cancelAnimationFrame(raf); follow(); });
  video.addEventListener("pause", () => cancelAnimationFrame(raf));
  video.addEventListener("seeked", () => show(video.currentTime));
  video.addEventListener("error", () => {  // this browser does not play it: its frames stay
    video.hidden = true; still.hidden = false; video = null;
  });
}
show(0);
"""
