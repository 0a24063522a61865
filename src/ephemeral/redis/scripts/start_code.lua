-- Starts a code. ARGV: lowest serial, time to live in ms, then key, nonce, epoch, target, end, digits. Gives the serial.
local last = tonumber(redis.call('HGET', KEYS[1], 'serial') or '-1')
local serial = string.format('%.0f', math.max(tonumber(ARGV[1]), last + 1))
redis.call('HSET', KEYS[1], 'serial', serial, 'tries', '0', 'live', '1',
    'key', ARGV[3], 'nonce', ARGV[4], 'epoch', ARGV[5], 'target', ARGV[6], 'ends', ARGV[7], 'digits', ARGV[8])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return serial
