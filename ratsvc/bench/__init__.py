"""The benchmark: the real service, producers and readers in processes of their own, over real sockets."""
