"""The benchmark against the field: events at a constant rate, from their arrival to the subscriber's receipt.

Load generator, receiver and clock (CLOCK_MONOTONIC, of the one machine) stand by themselves. What is between
the two is Hookreel, nothing at all, a usual way of doing the same work, or any other server.
"""
