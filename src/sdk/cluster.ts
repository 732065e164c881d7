/** A cluster as a program sees it over HTTP, in Node and in browsers: tasks are submitted, followed, awaited, cancelled. */
import type { EventJson } from "../api/event-json.ts";
import type { TaskJson } from "../api/task-json.ts";
import type { BatchFields } from "../client/batch-lines.ts";
import {
  type CallOptions,
  CapmeshClient,
  type ClientInit,
  type ListTasksOptions,
  type SubmitOptions,
} from "../client/client.ts";
import type { LogChunk, LogOptions } from "../client/log-reader.ts";
import type { SubmitFields } from "../client/submit-form.ts";

export class Cluster {
  /** Everything else that the API has: workers, tokens, modules, runs, files. */
  readonly client: CapmeshClient;

  /** Throws `failed`, code `invalid-url`, for a URL that is none. Nothing is asked of the gateway yet. */
  constructor(init: ClientInit) {
    this.client = new CapmeshClient(init);
  }

  /** Resolves once the task is on disk: from then on it is not lost. Rejects with an ApiError that says what is wrong. */
  async submit(fields: SubmitFields, options: SubmitOptions = {}): Promise<ClusterTask> {
    const task = await this.client.submit(fields, options);
    return new ClusterTask(this.client, task.id);
  }

  /** Submits all or none, in one transaction; the tasks are in their order. */
  async submitBatch(tasks: readonly BatchFields[], options: SubmitOptions = {}): Promise<ClusterTask[]> {
    const made = await this.client.submitBatch(tasks, options);
    return made.map(({ id }) => new ClusterTask(this.client, id));
  }

  /** A task by its id; whether there is one shows when it is asked something. */
  task(id: string): ClusterTask {
    return new ClusterTask(this.client, id);
  }

  /** Newest first, page by page as they are asked for. */
  tasks(options: ListTasksOptions = {}): AsyncIterable<TaskJson> {
    return this.client.listTasks(options);
  }

  /** Every change from now on, over lost connections too; `reset` says that some were missed. */
  events(options: CallOptions = {}): AsyncIterable<EventJson> {
    return this.client.events(options);
  }
}

export class ClusterTask {
  readonly id: string;
  readonly #client: CapmeshClient;

  constructor(client: CapmeshClient, id: string) {
    this.#client = client;
    this.id = id;
  }

  /** As it is now. */
  status(options: CallOptions = {}): Promise<TaskJson> {
    return this.#client.getTask(this.id, options);
  }

  /** Resolves when it has finished, however it ended: `state` says how. Goes on while the gateway is away for a while. */
  wait(options: CallOptions = {}): Promise<TaskJson> {
    return this.#client.waitForTask(this.id, options);
  }

  /** Its output as it is written, from the first run on to the end of the last, over lost connections too. */
  logs(options: LogOptions = {}): AsyncIterable<LogChunk> {
    return this.#client.logs(this.id, { run: "all", follow: true, ...options });
  }

  /** Ends it; guests under way end within 100 ms. */
  cancel(options: CallOptions = {}): Promise<TaskJson> {
    return this.#client.cancel(this.id, options);
  }

  /** Cancels and forgets it. */
  delete(options: CallOptions = {}): Promise<void> {
    return this.#client.delete(this.id, options);
  }
}
