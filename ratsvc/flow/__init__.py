"""The only waiting between the edges: queue to log to tail (sequencer), tail to readers (hub, follow), and the
façade that both edges use (broker)."""
