"""Jobs as coroutines: `async def` instead of state classes. The public names are in `mu` itself."""
