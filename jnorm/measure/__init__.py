"""What did happen: measurements of real networks and the statistics that judge them."""
