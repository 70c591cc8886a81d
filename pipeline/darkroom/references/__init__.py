"""What a run is measured against: other images, or statistics of them. Knows no network and no run that is measured."""
