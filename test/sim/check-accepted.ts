/** G1: what was accepted survives. G2: it comes to its end. */
import { isDeepStrictEqual } from "node:util";
import { isFinished } from "../../src/model/task.ts";
import { type TaskRow, stateOf } from "../support/memory-store-state.ts";
import type { History } from "./history.ts";

export function checkAccepted(history: History): readonly string[] {
  const found: string[] = [];
  const bySerial = new Map(history.tasks.map((task) => [task.serial, task]));
  const made = new Set<number>();
  const cancelled = new Set<number>();
  const asked = new Asked();
  let lastSerial = 0;
  for (const event of history.events) {
    asked.see(event);
    switch (event.kind) {
      case "task-made":
        if (event.serial <= lastSerial) found.push(`G1: serial ${event.serial} was given twice`);
        lastSerial = event.serial;
        made.add(event.serial);
        if (!asked.isSubmitted(event.task)) found.push(`G1: ${event.task} was made and not asked for`);
        break;
      case "task-deleted":
        if (!asked.isDeleted(event.task)) found.push(`G1: ${event.task} is gone and nobody asked for it`);
        bySerial.delete(event.serial);
        made.delete(event.serial);
        break;
      case "task-cancelled":
        cancelled.add(event.serial);
        if (!asked.isCancelled(event.task)) found.push(`G1: ${event.task} was cancelled and nobody asked for it`);
        break;
      case "submit-answered":
        if (event.serial !== undefined && !made.has(event.serial) && !asked.isDeleted(event.task)) {
          found.push(`G1: ${event.task} was accepted before it was durable`);
        }
        break;
      case "cancel-answered":
        if (event.answer === "cancelled" && ![...cancelled].some((serial) => asked.serialOf(serial) === event.task)) {
          found.push(`G1: ${event.task} was said to be cancelled before it was durable`);
        }
        break;
      default:
    }
  }
  for (const serial of made) {
    const task = bySerial.get(serial);
    if (task === undefined) found.push(`G1: task ${serial} was durable and is gone`);
    else found.push(...checkEnd(task, cancelled.has(serial), asked));
  }
  return found;
}

/** What was asked for so far. */
class Asked {
  readonly #submitted = new Map<string, unknown[]>();
  readonly #cancelled = new Set<string>();
  readonly #deleted = new Set<string>();
  readonly #tasks = new Map<number, string>();

  see(event: History["events"][number]): void {
    if (event.kind === "submit-asked") {
      this.#submitted.set(event.spec.id, [...(this.#submitted.get(event.spec.id) ?? []), event.spec]);
    } else if (event.kind === "cancel-asked") this.#cancelled.add(event.task);
    else if (event.kind === "delete-asked") this.#deleted.add(event.task);
    else if (event.kind === "task-made") this.#tasks.set(event.serial, event.task);
  }

  isSubmitted(task: string): boolean {
    return this.#submitted.has(task);
  }

  isCancelled(task: string): boolean {
    return this.#cancelled.has(task);
  }

  isDeleted(task: string): boolean {
    return this.#deleted.has(task);
  }

  serialOf(serial: number): string | undefined {
    return this.#tasks.get(serial);
  }

  /** Somebody has asked for exactly this. */
  hasSpec(task: TaskRow): boolean {
    return (this.#submitted.get(task.spec.id) ?? []).some((spec) => isDeepStrictEqual(spec, task.spec));
  }
}

function checkEnd(task: TaskRow, wasCancelled: boolean, asked: Asked): readonly string[] {
  const found: string[] = [];
  const { id } = task.spec;
  const state = stateOf(task);
  if (!asked.hasSpec(task)) found.push(`G1: ${id} is not what was submitted`);
  if (!isFinished(state)) found.push(`G2: ${id} is still ${state} at the end`);
  if (wasCancelled && state !== "cancelled") found.push(`G1: ${id} was cancelled and is ${state}`);
  return found;
}
