"""The pose of a cube from a camera (App. B2): rendered pictures, corners, PnP, a filter."""
