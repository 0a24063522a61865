-- Removes the code if its serial is ARGV[1]; the serial stays, so that the next one is above it.
if redis.call('HGET', KEYS[1], 'serial') == ARGV[1] then
    redis.call('HDEL', KEYS[1], 'live', 'key', 'nonce', 'target')
end
return true
