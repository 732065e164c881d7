/**
 * The status page: workers and tasks, asked for every other second while the page is seen. All text is set as text, so
 * that nothing a task says is taken for markup.
 */
/* oxlint-disable typescript/no-unsafe-argument, typescript/no-unsafe-assignment, typescript/no-unsafe-call,
   typescript/no-unsafe-member-access, typescript/no-unsafe-return -- the browser runs this as it is: it has no types. */

const REFRESH_MS = 2_000;
const TASKS_SHOWN = 100;
const TOKEN_KEY = "capmesh-token";

const byId = (id) => document.getElementById(id);
/** Changes when the page begins anew, so that an older round does not go on. */
let round = 0;

async function read(path) {
  const token = sessionStorage.getItem(TOKEN_KEY);
  const response = await fetch(path, { headers: token === null ? {} : { authorization: `Bearer ${token}` } });
  const body = await response.json();
  if (response.ok) return { body, hasMore: response.headers.has("link") };
  throw Object.assign(new Error(body.detail ?? body.title), { status: response.status });
}

async function refresh() {
  const [workers, tasks] = await Promise.all([read("workers"), read(`tasks?limit=${TASKS_SHOWN}`)]);
  showWorkers(workers.body);
  showTasks(tasks.body, tasks.hasMore);
  byId("token-form").hidden = true;
  say(`Live, as of ${new Date().toLocaleTimeString()}`, false);
}

function showWorkers(workers) {
  const slots = workers.reduce((sum, worker) => sum + worker.slots, 0);
  const busy = workers.reduce((sum, worker) => sum + worker.busy, 0);
  byId("workers-count").textContent = workers.length === 0 ? "" : `${workers.length}, ${busy} of ${slots} slots busy`;
  byId("no-workers").hidden = workers.length > 0;
  byId("workers").replaceChildren(...workers.map(workerCard));
}

function workerCard(worker) {
  const place = [worker.labels.host, worker.labels.os, worker.labels.arch].filter(Boolean).join(" · ");
  const name = element("strong", "", worker.id);
  name.title = worker.id;
  const slots = element("div", "slots");
  slots.setAttribute("role", "img");
  slots.setAttribute("aria-label", `${worker.busy} of ${worker.slots} slots busy`);
  for (let slot = 0; slot < Math.min(worker.slots, 128); slot++) {
    slots.append(element("i", slot < worker.busy ? "busy" : ""));
  }
  const stateClass = worker.status === "ready" ? "state ready-worker" : `state ${worker.status}`;
  const card = element("li");
  card.append(name, element("span", stateClass, worker.status), element("span", "faint", place), slots);
  if (worker.note !== null) card.append(element("span", "faint", worker.note));
  return card;
}

function showTasks(tasks, hasMore) {
  byId("tasks-count").textContent =
    tasks.length === 0 ? "" : hasMore ? `the newest ${tasks.length}` : `${tasks.length}`;
  byId("no-tasks").hidden = tasks.length > 0;
  byId("tasks-table").hidden = tasks.length === 0;
  byId("tasks").replaceChildren(...tasks.map(taskRow));
}

function taskRow(task) {
  const name = element("td", "name");
  name.append(element("code", "", task.id));
  if (task.description !== "") name.append(element("div", "faint", task.description));
  const state = element("td");
  state.append(element("span", `state ${task.state}`, task.state));
  if (task.reason !== null) state.append(element("div", "faint", reasonText(task.reason)));
  const bar = element("progress");
  bar.value = task.progress;
  bar.title = `${Math.round(task.progress * 100)} %`;
  const progress = element("td");
  progress.append(bar);
  const completions = element("td", "number", String(task.completions));
  const runs = element("td", "number", String(task.runs ?? "∞"));
  const result = element("td", "result");
  result.append(element("code", "", resultText(task)));
  const created = element("td", "time", new Date(task.createdAt).toLocaleString());
  const row = element("tr");
  row.append(name, state, progress, completions, runs, result, created);
  return row;
}

/** What `poisoned` means, to somebody who has not read the contract. */
function reasonText(reason) {
  return /^(run \d+ )?poisoned$/.test(reason)
    ? `${reason}: its attempts each took their worker or runner down`
    : reason;
}

function resultText({ result }) {
  if (result === null) return "";
  if (result.value !== undefined) return result.value;
  const line = result.stdout.trim().split("\n").at(-1) ?? "";
  if (line !== "") return line.slice(0, 80);
  return result.exitCode === undefined ? "" : `exit ${result.exitCode}`;
}

function element(name, className = "", text = "") {
  const made = document.createElement(name);
  if (className !== "") made.className = className;
  if (text !== "") made.textContent = text;
  return made;
}

function say(text, isDown) {
  byId("status").textContent = text;
  byId("status").classList.toggle("down", isDown);
}

async function run() {
  const mine = ++round;
  while (mine === round) {
    if (!document.hidden) {
      try {
        await refresh();
      } catch (error) {
        if (error.status === 401) byId("token-form").hidden = false;
        say(error.status === undefined ? "The gateway cannot be reached" : error.message, true);
      }
    }
    await new Promise((resolve) => setTimeout(resolve, REFRESH_MS));
  }
}

byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN_KEY, byId("token").value);
  void run();
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) void run();
});
document.querySelector(".url").textContent = new URL("tasks", location.href).href;
void run();
