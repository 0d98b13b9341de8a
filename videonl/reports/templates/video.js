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
    const number = last(data.begins, time);
    const [start, end] = data.spans[number], box = find("window");
    box.style.left = 100 * start / data.duration + "%";
    box.style.width = 100 * (end - start) / data.duration + "%";
    box.dataset.number = number;
    text += " \u00b7 window " + start.toFixed(1) + " to " + end.toFixed(1) + " s: " +
      data.top[number];
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
