"""The page of ``videonl serve``: one file, no requests to anywhere else, usable by keyboard."""

import base64
import hashlib
import html

from videonl.inference.predictor import Predictor

STYLE = """
:root { color-scheme: light dark; --ink: #1b2330; --soft: #566072; --line: #c6ccd6; --card: #fff;
  --page: #f4f6f9; --mark: #1f5fbf; --bar: #9dbdf0; --bad: #a61b1b; --badback: #fdecec; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8ecf3; --soft: #a3adbd; --line: #465062; --card: #1d2430; --page: #12171f;
    --mark: #8ab8ff; --bar: #2f5796; --bad: #ff9d9d; --badback: #3a1d20; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 1.0625rem/1.5 system-ui, sans-serif; }
main { max-width: 44rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .25rem; }
h2 { font-size: 1.2rem; margin: 0 0 .5rem; overflow-wrap: anywhere; }
h2:focus { outline: none; }
p { margin: .25rem 0; }
.soft { color: var(--soft); font-size: .9375rem; overflow-wrap: anywhere; }
#drop { display: block; margin: 1.25rem 0 .75rem; padding: 1.5rem 1rem; text-align: center;
  background: var(--card); border: 2px dashed var(--line); border-radius: .75rem; cursor: pointer; }
#drop strong { color: var(--mark); text-decoration: underline; }
#drop.over, #drop:hover { border-color: var(--mark); }
#file { position: absolute; opacity: 0; width: 1px; height: 1px; }
#file:focus-visible + #drop { outline: 3px solid var(--mark); outline-offset: 3px; }
.card { margin-top: 1rem; padding: 1rem; background: var(--card); border: 1px solid var(--line);
  border-radius: .75rem; }
video { display: block; width: 100%; max-height: 16rem; background: #000; border-radius: .5rem;
  margin-top: .75rem; }
progress { width: 100%; height: .75rem; accent-color: var(--mark); }
.row { display: flex; gap: 1rem; align-items: center; justify-content: space-between;
  flex-wrap: wrap; }
label.check { display: inline-flex; gap: .6rem; align-items: center; min-height: 2.75rem; }
label.check input { width: 1.25rem; height: 1.25rem; flex: none; }
button { font: inherit; min-height: 2.75rem; padding: .25rem 1.1rem; color: var(--ink);
  background: transparent; border: 1px solid var(--line); border-radius: .5rem; cursor: pointer; }
button:hover { border-color: var(--mark); }
button:focus-visible, input:focus-visible { outline: 3px solid var(--mark); outline-offset: 2px; }
ol { list-style: none; margin: 0 0 .75rem; padding: 0; }
li { margin: .5rem 0; }
li .row { flex-wrap: nowrap; align-items: baseline; }
li .name { overflow-wrap: anywhere; }
li:first-child .name { font-weight: 700; }
li .percent { font-variant-numeric: tabular-nums; }
.track { height: .6rem; border-radius: .3rem; border: 1px solid var(--line); overflow: hidden; }
.fill { height: 100%; background: var(--bar); }
li:first-child .fill { background: var(--mark); }
#error { color: var(--bad); background: var(--badback); border-color: var(--bad);
  overflow-wrap: anywhere; }
[hidden] { display: none !important; }
"""

SCRIPT = """
"use strict";
const $ = (id) => document.getElementById(id);
const limit = Number(document.body.dataset.limit);
let request = null, clock = null, picture = null;

function say(text) { $("status").textContent = text; }

function fail(sentence) {
  stop();
  $("error").textContent = sentence;
  $("error").hidden = false;
}

function stop() {
  clearInterval(clock);
  $("working").hidden = true;
  request = null;
}

function megabytes(bytes) {
  return bytes < 1e5 ? (bytes / 1e3).toFixed(1) + " kB" : (bytes / 1e6).toFixed(1) + " MB";
}

function show(answer) {
  stop();
  $("result-title").textContent = answer.file;
  const list = $("classes");
  list.replaceChildren();
  for (const entry of answer.classes) {
    const item = document.createElement("li");
    const row = document.createElement("div"), track = document.createElement("div");
    const name = document.createElement("span"), percent = document.createElement("span");
    const fill = document.createElement("div");
    row.className = "row"; name.className = "name"; percent.className = "percent";
    track.className = "track"; fill.className = "fill";
    name.textContent = entry.class;
    percent.textContent = (100 * entry.probability).toFixed(1) + "\\u00a0%";
    fill.style.width = 100 * entry.probability + "%";
    track.setAttribute("aria-hidden", "true");
    row.append(name, percent); track.append(fill); item.append(row, track); list.append(item);
  }
  const clips = answer.views.length, crops = answer.protocol.crops;
  $("how").textContent = "Looked at " + clips + (clips === 1 ? " clip" : " clips") + " \\u00d7 "
    + crops + (crops === 1 ? " crop" : " crops") + ", in " + answer.seconds.toFixed(1) + " s.";
  $("result").hidden = false;
  $("result-title").focus();
}

function preview(file) {
  if (picture) URL.revokeObjectURL(picture);
  picture = URL.createObjectURL(file);
  const video = $("preview");
  video.hidden = true;
  video.onloadeddata = () => { video.hidden = false; };
  video.src = picture;
}

function send(file) {
  if (request) request.abort();
  stop();
  $("error").hidden = $("result").hidden = true;
  $("preview").hidden = true;
  if (file.size === 0) return fail(file.name + ": the file is empty");
  if (file.size > limit) {
    return fail(file.name + " has " + megabytes(file.size) + "; this server takes videos of up to "
      + megabytes(limit));
  }
  preview(file);
  const form = new FormData();
  form.append("video", file);
  const mine = request = new XMLHttpRequest();
  const bar = $("bar");
  bar.value = 0;
  $("working").hidden = false;
  say("Sending " + file.name);
  mine.upload.onprogress = (event) => {
    if (event.lengthComputable) bar.value = event.loaded / event.total;
  };
  mine.upload.onload = () => {
    bar.removeAttribute("value");
    const start = Date.now();
    say("Classifying " + file.name);
    $("clock").textContent = "";
    clock = setInterval(() => {
      $("clock").textContent = Math.round((Date.now() - start) / 1000) + " s";
    }, 1000);
  };
  mine.onload = () => {
    if (mine !== request) return;
    let answer = null;
    try { answer = JSON.parse(mine.responseText); } catch { /* told below */ }
    if (mine.status === 200 && answer) return show(answer);
    const wait = mine.getResponseHeader("Retry-After");
    const hint = wait ? " (in about " + wait + " s)" : "";
    fail((answer && answer.error || "The server answered with status " + mine.status) + hint);
  };
  mine.onerror = () => {
    if (mine === request) fail("The server can not be reached, or it closed the connection.");
  };
  mine.open("POST", "predict" + ($("quick").checked ? "?views=1x1" : ""));
  mine.send(form);
}

$("file").addEventListener("change", (event) => {
  const file = event.target.files[0];
  if (file) send(file);
  event.target.value = "";
});
$("cancel").addEventListener("click", () => {
  if (request) request.abort();
  stop();
  say("Stopped.");
  $("file").focus();
});
let depth = 0;
addEventListener("dragenter", (event) => { event.preventDefault(); depth += 1;
  $("drop").classList.add("over"); });
addEventListener("dragleave", () => { depth -= 1;
  if (depth <= 0) $("drop").classList.remove("over"); });
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  depth = 0;
  $("drop").classList.remove("over");
  const files = event.dataTransfer.files;
  if (files.length > 1) return fail("One video at a time, please.");
  if (files.length === 1) send(files[0]);
});
"""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Classify a video</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body data-limit="{limit}">
<main>
<h1>Classify a video</h1>
<p class="soft">{name}: {count} classes{checkpoint}</p>
<form method="post" action="predict" enctype="multipart/form-data">
<input id="file" name="video" type="file" accept="video/*,.mkv,.avi,.mov,.webm,.flv,.ts,.mpg"
  aria-describedby="hint">
<label id="drop" for="file"><strong>Choose a video</strong> or drop one here<br>
<span class="soft" id="hint">up to {megabytes} MB; it is deleted after the answer</span></label>
<label class="check"><input id="quick" type="checkbox">
<span>Quick look: one clip from the middle instead of {views}</span></label>
<noscript><p><button>Send</button> (without JavaScript the answer comes as JSON)</p></noscript>
</form>
<div id="error" class="card" role="alert" hidden></div>
<div id="working" class="card" hidden>
<div class="row"><p id="status" role="status"></p><span id="clock" class="soft"></span></div>
<progress id="bar" max="1" value="0" aria-labelledby="status"></progress>
<p><button id="cancel" type="button">Stop</button></p>
</div>
<section id="result" class="card" aria-labelledby="result-title" hidden>
<h2 id="result-title" tabindex="-1"></h2>
<ol id="classes"></ol>
<p id="how" class="soft"></p>
<video id="preview" controls muted playsinline hidden></video>
</section>
</main>
<script>{script}</script>
</body>
</html>
"""


def page(predictor: Predictor, *, limit: int, views: tuple[int, int]) -> str:
    """The page for a network.

    Args:
        predictor: the network.
        limit: bytes of a video.
        views: (clips, crops) of a full look.
    """
    checkpoint = predictor.about.get("checkpoint")
    return PAGE.format(
        style=STYLE,
        script=SCRIPT,
        limit=limit,
        megabytes=f"{limit / 1e6:g}",
        name=html.escape(str(predictor.about["name"])),
        checkpoint=html.escape(f", {checkpoint}") if checkpoint else "",
        count=len(predictor.class_names),
        views=f"{views[0]} clips × {views[1]} crops",
    )


def page_policy() -> str:
    """The Content-Security-Policy that lets this page work and nothing else."""
    style, script = (_hash(text) for text in (STYLE, SCRIPT))
    return (
        f"default-src 'none'; style-src '{style}'; script-src '{script}'; connect-src 'self'; "
        "form-action 'self'; img-src data:; media-src blob:; base-uri 'none'; "
        "frame-ancestors 'none'"
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
