/** Pages of a run's log, as `schema/client.capnp` lays them out. */
import { LOG_EVENT_BYTES_MAX, LOG_PIECES_MAX } from "../base/limits.ts";
import type { LogPage as WireLogPage, Task_Log$Params } from "../generated/client.ts";
import type { OutputStream } from "../model/output.ts";
import { decodeStream, encodeStream } from "./output.ts";
import { checkLength, decodeData, decodeUint, encodeData } from "./scalars.ts";

export interface LogPlace {
  /** From 1; 0: the run that started last. */
  readonly run: number;
  readonly offset: number;
  /** The page is waited for. */
  readonly follow: boolean;
}

export interface LogPiece {
  readonly stream: OutputStream;
  readonly attempt: number;
  /** In the run's log. */
  readonly offset: number;
  readonly bytes: Uint8Array;
}

export interface LogPage {
  /** From 1; 0: none has started. */
  readonly run: number;
  readonly pieces: readonly LogPiece[];
  readonly nextOffset: number;
  /** Nothing follows: the run is over or, for who does not follow, has written no more yet. */
  readonly isEnd: boolean;
  readonly isTruncated: boolean;
}

export function encodeLogPlace(wire: Task_Log$Params, { run, offset, follow }: LogPlace): void {
  wire.run = run;
  wire.offset = BigInt(offset);
  wire.follow = follow;
}

export function decodeLogPlace(wire: Task_Log$Params): LogPlace {
  return { run: wire.run, offset: decodeUint(wire.offset, "an offset"), follow: wire.follow };
}

export function encodeLogPage(wire: WireLogPage, { run, pieces, nextOffset, isEnd, isTruncated }: LogPage): void {
  wire.run = run;
  wire.nextOffset = BigInt(nextOffset);
  wire.isEnd = isEnd;
  wire.isTruncated = isTruncated;
  const list = wire._initPieces(pieces.length);
  pieces.forEach(({ stream, attempt, offset, bytes }, index) => {
    const piece = list.get(index);
    piece.stream = encodeStream(stream);
    piece.attempt = attempt;
    piece.offset = BigInt(offset);
    encodeData(piece._initBytes(bytes.length), bytes);
  });
}

export function decodeLogPage(wire: WireLogPage): LogPage {
  const list = wire.pieces;
  const count = checkLength(list, LOG_PIECES_MAX, "pieces");
  const pieces: LogPiece[] = [];
  for (let index = 0; index < count; index++) {
    const piece = list.get(index);
    pieces.push({
      stream: decodeStream(piece.stream),
      attempt: piece.attempt,
      offset: decodeUint(piece.offset, "an offset"),
      bytes: decodeData(piece.bytes, LOG_EVENT_BYTES_MAX, "a piece of a log"),
    });
  }
  return {
    run: wire.run,
    pieces,
    nextOffset: decodeUint(wire.nextOffset, "an offset"),
    isEnd: wire.isEnd,
    isTruncated: wire.isTruncated,
  };
}
