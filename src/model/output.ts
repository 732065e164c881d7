/** The output of an attempt: one log of two streams. */

export type OutputStream = "stdout" | "stderr";
