/**
 * Operations on modules. Each runs inside a transaction of the store's thread. A row of `modules` says what was found out
 * about one and outlives its bytes; the module is had while a task uses it, or `held_modules` has it.
 */
import type { Digest } from "../../base/ids.ts";
import {
  HELD_MODULES_MAX,
  HELD_MODULE_AGE_GRAIN_MS,
  MODULES_LOOKED_AT_MAX,
  STORE_PAGE_BYTES_MAX,
} from "../../base/limits.ts";
import { decodeDigest, decodeNumber, decodeText, decodeTime } from "./columns.ts";
import type { Database } from "./database.ts";
import type { Answer, Args, ModuleWire } from "./messages.ts";

export function getModule(db: Database, args: Args<"getModule">): Answer<"getModule"> {
  const row = db.get("SELECT inspection, created_at FROM modules WHERE digest = ?", args.digest);
  if (row === undefined) return undefined;
  return {
    digest: args.digest,
    inspection: decodeText(row.inspection),
    createdAt: decodeTime(row.created_at),
  };
}

/** The module of a task that has just been inserted, as `serial`. One that nobody had until now is as if it were new. */
export function noteModule(
  db: Database,
  task: { readonly serial: number; readonly module: Digest; readonly inspection: string },
  now: number,
): void {
  db.run(
    `INSERT INTO modules (digest, inspection, created_at) VALUES (?1, ?2, ?3)
     ON CONFLICT (digest) DO UPDATE SET created_at = excluded.created_at
     WHERE NOT EXISTS (SELECT 1 FROM tasks WHERE module = ?1 AND serial <> ?4)
       AND NOT EXISTS (SELECT 1 FROM held_modules WHERE digest = ?1)`,
    task.module,
    task.inspection,
    now,
    task.serial,
  );
  // Seldom, so that it costs no write for most tasks.
  db.run(
    "UPDATE held_modules SET held_at = ?2 WHERE digest = ?1 AND held_at < ?2 - ?3",
    task.module,
    now,
    HELD_MODULE_AGE_GRAIN_MS,
  );
}

export function holdModule(db: Database, { digest, inspection, now }: Args<"holdModule">): Answer<"holdModule"> {
  const isHeld = db.run("UPDATE held_modules SET held_at = max(held_at, ?2) WHERE digest = ?1", digest, now) > 0;
  if (!isHeld) {
    const held = decodeNumber(db.get("SELECT value FROM counters WHERE name = 'held_modules'")?.value);
    if (held >= HELD_MODULES_MAX) return { kind: "too-many" };
    db.run("INSERT INTO held_modules (digest, held_at) VALUES (?, ?)", digest, now);
    countHeld(db, 1);
  }
  const isNew = !isHeld && !isUsedByTask(db, digest);
  db.run(
    `INSERT INTO modules (digest, inspection, created_at) VALUES (?1, ?2, ?3)
     ON CONFLICT (digest) DO UPDATE SET created_at = excluded.created_at WHERE ?4`,
    digest,
    inspection,
    now,
    isNew ? 1 : 0,
  );
  const createdAt = decodeTime(db.get("SELECT created_at FROM modules WHERE digest = ?", digest)?.created_at);
  return { kind: "held", isNew, createdAt };
}

export function releaseModules(
  db: Database,
  { heldFrom, heldBefore, limit, now }: Args<"releaseModules">,
): Answer<"releaseModules"> {
  const rows = db.all(
    "SELECT digest FROM held_modules WHERE held_at >= ? AND held_at < ? ORDER BY held_at LIMIT ?",
    heldFrom,
    heldBefore,
    limit,
  );
  const released: Digest[] = [];
  for (const row of rows) {
    const digest = decodeDigest(row.digest);
    if (isUsedByTask(db, digest)) {
      db.run("UPDATE held_modules SET held_at = ? WHERE digest = ?", now, digest);
      continue;
    }
    db.run("DELETE FROM held_modules WHERE digest = ?", digest);
    countHeld(db, -1);
    released.push(digest);
  }
  return { released, isThrough: rows.length < limit };
}

export function listModules(db: Database, { limit, below }: Args<"listModules">): Answer<"listModules"> {
  const modules: ModuleWire[] = [];
  let bytes = 0;
  let looked = 0;
  for (const row of db.iterate(
    `SELECT digest, created_at,
       EXISTS (SELECT 1 FROM held_modules h WHERE h.digest = m.digest)
         OR EXISTS (SELECT 1 FROM tasks t WHERE t.module = m.digest) AS is_had
     FROM modules m WHERE (created_at, digest) < (?, ?) ORDER BY created_at DESC, digest DESC LIMIT ?`,
    below?.createdAt ?? Number.MAX_VALUE,
    below?.digest ?? "",
    MODULES_LOOKED_AT_MAX,
  )) {
    const last = { createdAt: decodeTime(row.created_at), digest: decodeDigest(row.digest) };
    looked++;
    if (decodeNumber(row.is_had) === 1) {
      const module = getModule(db, last);
      if (module !== undefined) modules.push(module);
      bytes += module?.inspection.length ?? 0;
    }
    const isFull = modules.length === limit || bytes > STORE_PAGE_BYTES_MAX || looked === MODULES_LOOKED_AT_MAX;
    if (isFull) return { modules, next: last };
  }
  return { modules, next: undefined };
}

function isUsedByTask(db: Database, digest: Digest): boolean {
  return db.get("SELECT 1 FROM tasks WHERE module = ? LIMIT 1", digest) !== undefined;
}

function countHeld(db: Database, change: number): void {
  db.run("UPDATE counters SET value = value + ? WHERE name = 'held_modules'", change);
}
