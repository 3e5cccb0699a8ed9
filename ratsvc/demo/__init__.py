"""The demo's sample producers: five kinds of data, published over real gRPC as any service would."""
