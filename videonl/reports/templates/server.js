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

const tenths = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1,
  roundingMode: "halfEven" });
function percent(share) { return tenths.format(100 * share) + "\u00a0%"; }  // as videonl.shares

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
    const name = document.createElement("span"), share = document.createElement("span");
    const fill = document.createElement("div");
    row.className = "row"; name.className = "name"; share.className = "percent";
    track.className = "track"; fill.className = "fill";
    name.textContent = entry.class;
    share.textContent = percent(entry.probability);
    fill.style.width = 100 * entry.probability + "%";
    track.setAttribute("aria-hidden", "true");
    row.append(name, share); track.append(fill); item.append(row, track); list.append(item);
  }
  const clips = answer.views.length, crops = answer.protocol.crops;
  $("how").textContent = "Looked at " + clips + (clips === 1 ? " clip" : " clips") + " \u00d7 "
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
    if (mine === request) fail("The server cannot be reached, or it closed the connection.");
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
