@0xb2f1c0a96d3e5a01;
# The offer channel: how a worker hands its capability to a gateway.
#
# A channel is a synchronous rendezvous. `send` returns when a receiver has taken the value, not before: a sender that
# is waiting *is* the queue. A channel holds no values of its own, so nothing is lost when it goes.
#
# Ordering: senders that wait are kept in the order their `send` arrived. A plain channel pairs first with first. The
# gateway's own receiver on the offer channel may choose any waiting sender; that choice never crosses the wire.
# Commit point: removing the waiting sender from the queue. Before it, a cancelled or disconnected sender vanishes and
# its value is never delivered; after it, the value is delivered exactly once, even if the sender's answer is lost.
# Failure: a closed channel fails every waiting and every later `send` with `disconnected`. Past the limit of waiting
# senders a `send` fails with `overloaded`.
#
# Each interface is a facet that can be held alone; a worker only ever gets an `OfferSender`.

using Worker = import "worker.capnp".Worker;
using WorkerState = import "worker.capnp".WorkerState;

interface OfferSender {
  send @0 (worker :Worker, state :WorkerState) -> ();
  # Offers one free slot. `worker` is the authority to use that slot once: the receiver makes at most one `run` call on
  # it. Dropping `worker` unused returns the slot to its worker, which offers again. `state` is what the pick policies
  # look at; it is a claim of the worker's and grants nothing.
  # Finishing the call before it returns withdraws the offer.
}

interface OfferReceiver {
  recv @0 () -> (worker :Worker, state :WorkerState);
  # Takes the offer that has waited longest, or waits for one. Finishing the call before it returns withdraws the receiver.
}

interface ChannelCloser {
  close @0 () -> ();
  # Fails all that wait, now and later. Idempotent.
}
