"""What a run trains on: one device, or several processes with one each."""
